package layer4msa

import (
	"crypto/tls"
	"errors"
	"net"
	"reflect"

	"github.com/mholt/caddy-l4/layer4"
)

// stream is a connection of layer 4 that can be half closed, which layer 4 and its handlers forget.
type stream struct{ *layer4.Connection }

// CloseWrite says that nothing more will be sent.
func (s stream) CloseWrite() error {
	for nc := s.Conn; nc != nil; nc = inner(nc) {
		if half, ok := nc.(interface{ CloseWrite() error }); ok {
			return half.CloseWrite()
		}
	}
	return errors.ErrUnsupported
}

// handshake is the state of the TLS that the connection runs in, or nil. Layer 4 has a list of states, but it is
// shared by the branches of a tee, so that it proves nothing of this connection: TLS counts if octets go through it.
func handshake(cx *layer4.Connection) *tls.ConnectionState {
	for nc := cx.Conn; nc != nil; nc = inner(nc) {
		if conn, ok := nc.(*tls.Conn); ok {
			state := conn.ConnectionState()
			if !state.HandshakeComplete {
				return nil
			}
			return &state
		}
	}
	return nil
}

// inner is what a connection is made of, or nil where that cannot be seen. Handlers of layer 4 embed a net.Conn
// in types of their own, or have a method that gives it.
func inner(nc net.Conn) net.Conn {
	switch nc := nc.(type) {
	case *layer4.Connection:
		return nc.Conn
	case interface{ NetConn() net.Conn }:
		return nc.NetConn()
	case interface{ Raw() net.Conn }: // of the PROXY protocol
		return nc.Raw()
	}
	v := reflect.Indirect(reflect.ValueOf(nc))
	if v.Kind() != reflect.Struct {
		return nil
	}
	field, ok := v.Type().FieldByName("Conn")
	if !ok || !field.IsExported() || !field.Anonymous || len(field.Index) != 1 {
		return nil
	}
	under, _ := v.FieldByIndex(field.Index).Interface().(net.Conn)
	return under
}
