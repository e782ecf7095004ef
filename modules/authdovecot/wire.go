package authdovecot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// errBroken: the connection ended before the answer came.
var errBroken = errors.New("the connection to Dovecot broke")

// protocol is one of the two that Dovecot's auth process talks.
type protocol struct {
	hello string // what we begin with
	ready string // the last command of Dovecot's own beginning
}

var (
	// clientProtocol authenticates. CPID only matters to whoever asks for logins by it, which
	// nobody does here.
	clientProtocol = protocol{hello: "VERSION\t1\t2\nCPID\t1\n", ready: "DONE"}
	// masterProtocol looks users up.
	masterProtocol = protocol{hello: "VERSION\t1\t1\n", ready: "SPID"}
)

// wire is one connection, on which any number of requests are under way. One goroutine reads.
type wire struct {
	nc         net.Conn
	mechanisms map[string]bool // that Dovecot announced
	patience   time.Duration   // silence that is longer means that nobody is there

	writing sync.Mutex
	heard   atomic.Uint64 // lines so far

	mu      sync.Mutex
	last    uint32
	pending map[uint32]chan reply
	err     error         // why it is broken
	broken  chan struct{} // closed then
}

// openWire connects and shakes hands, within ctx.
func openWire(ctx context.Context, network, address string, p protocol) (*wire, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	w := &wire{nc: nc, mechanisms: make(map[string]bool), pending: make(map[uint32]chan reply), broken: make(chan struct{})}
	r := bufio.NewReaderSize(nc, 2*maxLine)
	if err = w.greet(r, p); err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		stop()
		_ = nc.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("%s does not greet: %w", address, context.Cause(ctx))
		}
		return nil, err
	}
	go w.read(r)
	return w, nil
}

// greet says our part of the beginning and hears Dovecot's.
func (w *wire) greet(r *bufio.Reader, p protocol) error {
	if _, err := w.nc.Write([]byte(p.hello)); err != nil {
		return err
	}
	version := false
	for range 1000 { // Dovecot has some ten lines to say
		line, err := readLine(r)
		if err != nil {
			return fmt.Errorf("reading Dovecot's greeting: %w", err)
		}
		words := strings.Split(line, "\t")
		switch words[0] {
		case "VERSION":
			if len(words) < 2 || words[1] != "1" {
				return fmt.Errorf("version of the protocol is not 1: %q", line)
			}
			version = true
		case "MECH":
			if len(words) > 1 {
				w.mechanisms[strings.ToUpper(words[1])] = true
			}
		}
		if !version {
			return fmt.Errorf("this is not a socket of Dovecot's auth: it begins with %.40q", line)
		}
		if words[0] == "MECH" && p == masterProtocol {
			return errors.New("this socket is for logins; users are looked up at another one, such as auth-userdb")
		}
		if words[0] == p.ready {
			return nil
		}
	}
	return errors.New("the greeting of Dovecot has no end")
}

// readLine fails if the line is longer than the reader's buffer.
func readLine(r *bufio.Reader) (string, error) {
	b, err := r.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	return string(b[:len(b)-1]), nil
}

// read hands answers out until the connection ends.
func (w *wire) read(r *bufio.Reader) {
	for {
		line, err := readLine(r)
		if err != nil {
			w.fail(err)
			return
		}
		w.heard.Add(1)
		if answer, ok := parseReply(line); ok {
			w.deliver(answer)
		} // else it is news that we do not need
	}
}

func (w *wire) deliver(answer reply) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.pending[answer.id] <- answer: // nil, and so never, if nobody waits any more
	default: // one answer was due, so a second one is Dovecot's mistake
	}
}

// fail ends the connection, and with it what is pending.
func (w *wire) fail(cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	w.err = fmt.Errorf("%w: %w", errBroken, cause)
	close(w.broken)
	_ = w.nc.Close()
}

func (w *wire) isBroken() bool {
	select {
	case <-w.broken:
		return true
	default:
		return false
	}
}

// request is one that may go on for several turns.
type request struct {
	w       *wire
	id      uint32
	answers chan reply

	answered bool // there is nothing left to cancel
}

func (w *wire) begin() *request {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.last++; w.last == 0 || w.pending[w.last] != nil; {
		w.last++
	}
	q := &request{w: w, id: w.last, answers: make(chan reply, 1)}
	w.pending[q.id] = q.answers
	return q
}

// end forgets the request: an answer that comes late belongs to nobody.
func (q *request) end() {
	q.w.mu.Lock()
	defer q.w.mu.Unlock()
	delete(q.w.pending, q.id)
}

// ask sends a command with this id and returns the answer. An error means that there is none, and
// that there will be none any more.
func (q *request) ask(ctx context.Context, command, parameters string) (reply, error) {
	before, begin := q.w.heard.Load(), time.Now()
	if err := q.send(ctx, command, parameters); err != nil {
		return reply{}, err
	}
	select {
	case answer := <-q.answers:
		return answer, nil
	case <-q.w.broken:
		select {
		case answer := <-q.answers: // it came before the end
			return answer, nil
		default:
			return reply{}, q.w.err
		}
	case <-ctx.Done():
	}
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) && q.w.heard.Load() == before && time.Since(begin) >= q.w.patience {
		// Not a word for so long: nobody may be there any more.
		q.w.fail(context.DeadlineExceeded)
	}
	return reply{}, fmt.Errorf("no answer from Dovecot: %w", context.Cause(ctx))
}

// send writes a line, until ctx's deadline.
func (q *request) send(ctx context.Context, command, parameters string) error {
	line := command + "\t" + strconv.FormatUint(uint64(q.id), 10)
	if command != "CANCEL" {
		line += "\t" + parameters // an empty response is one, too
	}
	w := q.w
	w.writing.Lock()
	defer w.writing.Unlock()
	if ctx.Err() != nil { // while others wrote; a write that is late from the beginning would end the connection for all
		return fmt.Errorf("asking Dovecot: %w", context.Cause(ctx))
	}
	deadline, _ := ctx.Deadline()
	_ = w.nc.SetWriteDeadline(deadline)
	if _, err := w.nc.Write([]byte(line + "\n")); err != nil {
		w.fail(err) // what was written of the line cannot be taken back
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	return nil
}

// cancel tells Dovecot that nobody waits for an answer. It does not wait long to say so.
func (q *request) cancel() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if !q.w.isBroken() {
		_ = q.send(ctx, "CANCEL", "")
	}
}
