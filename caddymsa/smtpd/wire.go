package smtpd

import "net"

// wire is the socket beneath TLS. It can gather what TLS writes, so that it leaves in one write: a packet less to make,
// and one less for which the client wakes.
type wire struct {
	net.Conn
	gathers  bool
	gathered []byte
}

func (w *wire) Write(p []byte) (int, error) {
	if !w.gathers && len(w.gathered) == 0 {
		return w.Conn.Write(p)
	}
	w.gathered = append(w.gathered, p...)
	if w.gathers {
		return len(p), nil
	}
	if err := w.flush(); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Read sends what was gathered first, for which the other side waits perhaps.
func (w *wire) Read(p []byte) (int, error) {
	if w.gathers {
		if err := w.flush(); err != nil {
			return 0, err
		}
	}
	return w.Conn.Read(p)
}

// flush sends what was gathered.
func (w *wire) flush() error {
	if len(w.gathered) == 0 {
		return nil
	}
	_, err := w.Conn.Write(w.gathered)
	w.gathered = nil
	return err
}
