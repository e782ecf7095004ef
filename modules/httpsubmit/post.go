package httpsubmit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/emersion/go-smtp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/caddy-msa/caddy-msa/caddymsa/running"
	"github.com/caddy-msa/caddy-msa/caddymsa/smtpd"
)

// What is read of a request that is refused, so that its client gets to hear why: of a stranger's, and of others'.
const (
	strangersBody = 256 << 10
	clientsBody   = 64 << 20
	drainTime     = 30 * time.Second
)

// drain reads on, unless nothing was read and the client waits to be asked for it.
func drain(w http.ResponseWriter, r *http.Request, most int64, begun bool) {
	if r.Body == nil || r.Body == http.NoBody || r.Header.Get("Expect") != "" && !begun {
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(drainTime))
	_, _ = io.CopyN(io.Discard, r.Body, most)
}

// receipt is what an accepted message is answered with.
type receipt struct {
	ID    string `json:"id"`
	Reply string `json:"reply"` // as by SMTP
}

// post takes a message.
func (h *Submit) post(ctx context.Context, s running.Submitter, w http.ResponseWriter, r *http.Request) error {
	body := &bodyReader{r: r, header: w.Header(), control: http.NewResponseController(w), sum: sha256.New(), bounds: s.Bounds(), now: time.Now}
	body.start = body.now()
	reply, err := h.submit(inTrace(ctx, r), s, body)
	if err != nil {
		if web, ok := errors.AsType[*webError](err); ok && !body.told && web.status != http.StatusConflict && web.status != http.StatusRequestTimeout {
			s.Refused(smtpd.Refusal{Verb: "DATA", Reply: web.reply, Reason: web.reply.Message})
		}
		if !body.ended {
			drain(w, r, clientsBody, body.begun)
		}
		return err
	}
	w.Header().Set("Location", location(r, reply.ID))
	write(w, "application/json", http.StatusAccepted, receipt{reply.ID, strconv.Itoa(reply.Code) + " 2.0.0 " + reply.Text})
	return nil
}

// inTrace has the context say whose span the message's is below: the web server's, if that traces, or else the one that the client
// names (https://www.w3.org/TR/trace-context/). How far the latter is trusted is the msa server's to say.
func inTrace(ctx context.Context, r *http.Request) context.Context {
	parents := r.Header.Values("Traceparent")
	if trace.SpanContextFromContext(ctx).IsValid() || len(parents) != 1 {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": parents[0]})
}

// location is where what becomes of the message is told, as the client knows the place.
func location(r *http.Request, id string) string {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		if u := (&url.URL{Path: original.URL.Path + id}).EscapedPath(); strings.HasPrefix(u, "/") && !strings.HasPrefix(u, "//") {
			return u
		}
	}
	return id // beside the place of the request
}

func (h *Submit) submit(ctx context.Context, s running.Submitter, body *bodyReader) (smtpd.Reply, error) {
	once, first, release, err := onceOf(ctx, s, body)
	if err != nil {
		return smtpd.Reply{}, err
	}
	defer release()
	if first != nil {
		return again(body, first)
	}
	e, values, err := query(body.r.URL.RawQuery)
	if err != nil {
		return smtpd.Reply{}, err
	}
	kind, err := contentType(body.r.Header)
	if err != nil {
		return smtpd.Reply{}, err
	}
	switch kind {
	case "message/rfc822", "message/global":
		e.UTF8 = e.UTF8 || kind == "message/global" // RFC 6532 section 3.7
		return h.whole(ctx, s, e, values, body, once)
	case "application/json":
		for _, name := range []string{"from", "to", "envelope", "body"} {
			if values.Has(name) {
				return smtpd.Reply{}, bad("Parameter %s does not go with JSON, which says it itself", name)
			}
		}
		return h.document(ctx, s, e, body, once)
	}
	return smtpd.Reply{}, unsupported("Content-Type is message/rfc822 or application/json")
}

// contentType is the media type of what comes, as it is and in no other coding.
func contentType(header http.Header) (string, error) {
	for _, coding := range header.Values("Content-Encoding") {
		if !strings.EqualFold(strings.TrimSpace(coding), "identity") {
			return "", unsupported("Content-Encoding is not supported: send the message as it is")
		}
	}
	kind, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	switch charset := params["charset"]; {
	case len(header.Values("Content-Type")) > 1 || err != nil && kind != "":
		return "", unsupported("Content-Type cannot be read")
	case kind == "application/json" && charset != "" && !strings.EqualFold(charset, "utf-8"):
		return "", unsupported("JSON is in UTF-8") // RFC 8259 section 8.1
	}
	return kind, nil
}

func unsupported(text string) error {
	return fault(http.StatusUnsupportedMediaType, 554, smtp.EnhancedCode{5, 6, 0}, "%s", text)
}

// whole takes a message as it is.
func (h *Submit) whole(ctx context.Context, s running.Submitter, e *smtpd.Envelope, values map[string][]string, body *bodyReader, once *running.Once) (smtpd.Reply, error) {
	var message io.Reader = body
	if values["envelope"] != nil {
		header, err := readHeader(body)
		if err != nil {
			return smtpd.Reply{}, err
		}
		if message, err = header.envelope(e, values); err != nil {
			return smtpd.Reply{}, err
		}
	} else {
		if values["from"] == nil || len(e.Recipients) == 0 {
			return smtpd.Reply{}, bad("The query must have from (empty for <>) and to, once for each recipient; or envelope=header")
		}
		e.Size = max(body.r.ContentLength, 0)
	}
	return send(ctx, s, e, once, body, func(d running.Draft) error {
		block := blocks.Get().(*[blockSize]byte)
		defer blocks.Put(block)
		_, err := io.CopyBuffer(struct{ io.Writer }{d}, struct{ io.Reader }{message}, block[:])
		return err
	})
}

const blockSize = 32 << 10

var blocks = sync.Pool{New: func() any { return new([blockSize]byte) }}

// send begins a message, has it written, and commits it.
func send(ctx context.Context, s running.Submitter, e *smtpd.Envelope, once *running.Once, body *bodyReader, write func(running.Draft) error) (smtpd.Reply, error) {
	body.told = true
	d, err := s.Begin(ctx, e, once)
	if err != nil {
		return smtpd.Reply{}, err
	}
	over := false
	defer func() {
		if !over {
			d.Abort(errors.New("the request broke off"))
		}
	}()
	if err := write(d); err != nil {
		d.Abort(err)
		over = true
		return smtpd.Reply{}, body.blame(err)
	}
	over = true
	// As by SMTP, a client that leaves now changes nothing: what is delivered at once may be with the next hop already.
	return d.Commit(context.WithoutCancel(ctx))
}

// bodyReader reads a request's body, and keeps a sum of it. A client may pause for so long between two blocks, and has
// to be as fast as by SMTP.
type bodyReader struct {
	r       *http.Request
	header  http.Header // of the answer
	control *http.ResponseController
	bounds  smtpd.Bounds
	now     func() time.Time
	start   time.Time
	octets  int64
	sum     hash.Hash
	begun   bool
	ended   bool
	err     error // of reading
	told    bool  // the session knows of the message, and tells of its refusal
}

// Read implements io.Reader.
func (b *bodyReader) Read(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		b.header.Del("Connection")
	}
	_ = b.control.SetReadDeadline(b.now().Add(b.bounds.Patience)) // some servers have none
	n, err := b.r.Body.Read(p)
	b.sum.Write(p[:n])
	b.octets += int64(n)
	switch {
	case err == io.EOF && b.octets < b.r.ContentLength: // HTTP/3 does not look
		b.err, b.ended = errLost, true
		return n, errLost
	case err == io.EOF:
		b.ended = true
		_ = b.control.SetReadDeadline(time.Time{})
	case err != nil:
		b.err, b.ended = err, true
	case b.bounds.TooSlow(b.octets, b.now().Sub(b.start)):
		b.err, b.ended = errLost, true
		return n, errLost
	}
	return n, err
}

var errSiteLimit = fault(http.StatusRequestEntityTooLarge, 552, smtp.EnhancedCode{5, 3, 4}, "Request exceeds the size limit of the web site")

var errLost = fault(http.StatusRequestTimeout, 421, smtp.EnhancedCode{4, 4, 2}, "The message did not come whole")

// blame says of an error whether it was the client's, who may not be there any more.
func (b *bodyReader) blame(err error) error {
	if b.err == nil || !errors.Is(err, b.err) {
		return err
	}
	if _, limited := errors.AsType[*http.MaxBytesError](err); limited { // of the site's request_body
		return errSiteLimit
	}
	return errLost
}

// onceOf heeds an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header).
func onceOf(ctx context.Context, s running.Submitter, body *bodyReader) (once *running.Once, first *running.Accepted, release func(), err error) {
	values := body.r.Header.Values("Idempotency-Key")
	if len(values) == 0 {
		return nil, nil, func() {}, nil
	}
	key := strings.TrimSpace(values[0])
	if len(key) > 1 && strings.HasPrefix(key, `"`) && strings.HasSuffix(key, `"`) {
		key = key[1 : len(key)-1]
	}
	if len(values) > 1 || key == "" || len(key) > 255 || strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' }) {
		return nil, nil, nil, bad("Idempotency-Key is one string of 1 to 255 printable characters")
	}
	first, release, ok, err := s.Earlier(ctx, key)
	switch {
	case err != nil:
		return nil, nil, nil, err
	case !ok:
		busy := fault(http.StatusConflict, 451, smtp.EnhancedCode{4, 3, 0}, "A request with this Idempotency-Key is under way, try again later")
		busy.again = 1
		return nil, nil, nil, busy
	}
	body.sum.Write([]byte(strconv.Quote(body.r.Header.Get("Content-Type")) + strconv.Quote(body.r.URL.RawQuery)))
	return &running.Once{Key: key, Sum: body.total}, first, release, nil
}

func (b *bodyReader) total() (sum [32]byte) {
	b.sum.Sum(sum[:0])
	return sum
}

// maxReplayed bounds what is read of a request that was accepted before.
const maxReplayed = 1 << 30

// again answers a request that was accepted before, if it is the same.
func again(body *bodyReader, first *running.Accepted) (smtpd.Reply, error) {
	if _, err := io.Copy(io.Discard, struct{ io.Reader }{io.LimitReader(body, maxReplayed)}); err != nil {
		return smtpd.Reply{}, body.blame(err)
	}
	if sum := body.total(); !bytes.Equal(sum[:], first.Sum[:]) {
		return smtpd.Reply{}, unprocessable(running.KeyReused)
	}
	return smtpd.Reply{Code: 250, Enhanced: smtp.EnhancedCode{2, 0, 0}, Text: "Ok: queued as " + first.ID, ID: first.ID}, nil
}
