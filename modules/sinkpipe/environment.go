package sinkpipe

import (
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"

	"github.com/caddy-msa/caddy-msa/caddymsa/envelope"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
)

// maxVariables is how much of the envelope goes into the environment. Linux takes 128 KiB a variable and 2 MiB in all,
// others less; what is larger is in the file alone.
const maxVariables = 64 << 10

// environment is the envelope of one run, as the command sees it.
type environment struct {
	file   string // has the envelope as JSON
	inFile bool   // it is there alone

	short      []string // variables that are always there
	recipients string
	all        string
}

// newEnvironment writes the file. A value with a NUL cannot be a variable, and no address has one.
func newEnvironment(v envelope.Envelope) (*environment, error) {
	all, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var rcpts []string
	for _, r := range v.Recipients {
		rcpts = append(rcpts, r.Address)
	}
	e := &environment{
		short: []string{
			"MSA_QUEUE_ID=" + v.ID, "MSA_KEY=" + v.Key, "MSA_SERVER=" + v.Server, "MSA_SENDER=" + v.Sender, "MSA_USER=" + v.User,
			"MSA_REMOTE_IP=" + v.RemoteIP, "MSA_SIZE=" + strconv.FormatInt(v.Size, 10), "MSA_ATTEMPT=" + strconv.Itoa(v.Attempt),
		},
		recipients: strings.Join(rcpts, "\n"), all: string(all),
	}
	if strings.IndexByte(strings.Join(e.short, "")+e.recipients, 0) >= 0 {
		return nil, queue.Permanent(errors.New("the envelope has a NUL in it"))
	}
	e.inFile = len(e.all)+len(e.recipients) > maxVariables
	if err := e.write(all); err != nil && e.inFile {
		return nil, err
	}
	return e, nil
}

// write makes the file. Where there is no directory for it, variables have to do.
func (e *environment) write(all []byte) error {
	f, err := os.CreateTemp("", "msa-envelope-*.json") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(all)
	err = errors.Join(err, f.Close())
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	e.file = f.Name()
	return nil
}

func (e *environment) remove() {
	if e.file != "" {
		_ = os.Remove(e.file)
	}
}

// variables are the command's.
func (e *environment) variables() []string {
	env := append([]string(nil), e.short...)
	if e.file != "" {
		env = append(env, "MSA_ENVELOPE_FILE="+e.file)
	}
	if !e.inFile {
		env = append(env, "MSA_RECIPIENTS="+e.recipients, "MSA_ENVELOPE="+e.all)
	}
	return env
}
