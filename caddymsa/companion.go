package caddymsa

// Companion is an optional interface of a backend that needs others of its server: its users live in them.
type Companion interface {
	// Meet is called once, when all backends of the server are provisioned and before any of them is asked. others are
	// they, in the order of the configuration, without the backend itself. An error fails the load.
	Meet(others []Neighbor) error
}

// Neighbor is another backend of the same server.
type Neighbor struct {
	ID     string
	Module any
}
