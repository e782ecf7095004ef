package app

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
)

// otherApps are Caddy's apps that listen too. Their servers look alike in JSON, which spares linking them.
var otherApps = []string{"http", "layer4"}

// checkOtherApps refuses a socket on which another app of this configuration listens: the kernel would deal the clients
// out between both. Unlike those of two of our servers, :587 and 127.0.0.1:587 are too alike: which could be bound would be a
// matter of which app is started first. It is for Start, when all apps are provisioned: to ask for one earlier would
// provision it, and its handlers ask for this app.
func (app *App) checkOtherApps() error {
	owners := make(portOwners)
	for _, name := range otherApps {
		other, err := app.ctx.AppIfConfigured(name)
		if err != nil {
			continue
		}
		owners.add(name, other)
	}
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		for _, na := range app.Servers[name].addresses {
			for _, key := range socketKeys(na.NetworkAddress) {
				if owner := owners.of(key); owner != "" {
					return places.At(app.Servers[name].linesOf(na), fmt.Errorf("server %s: %s is taken by %s; choose another for one of them", name, na, owner))
				}
			}
		}
	}
	return nil
}

// portOwners says by the keys of sockets, and by what ports gives of them, who listens there.
type portOwners map[string]string

// ports are keys for a port at some address, and at all addresses of its kind. A socket without a port is alone.
func ports(key string) (some, all string, wide bool) {
	ap, err := netip.ParseAddrPort(key)
	if err != nil || ap.Port() == 0 {
		return key, key, false
	}
	port := fmt.Sprintf("%d of IPv4 %t", ap.Port(), ap.Addr().Is4())
	return "some " + port, "all " + port, ap.Addr().IsUnspecified()
}

// of is who has a socket, or one that takes it in or lies within it.
func (o portOwners) of(key string) string {
	some, all, wide := ports(key)
	if wide {
		return cmp.Or(o[key], o[some])
	}
	return cmp.Or(o[key], o[all])
}

// add adds what an app's servers listen on. What cannot be read is for that app to say.
func (o portOwners) add(name string, app any) {
	b, err := json.Marshal(app)
	if err != nil {
		return
	}
	var config struct {
		Servers map[string]struct {
			Listen []string `json:"listen"`
		} `json:"servers"`
	}
	if json.Unmarshal(b, &config) != nil {
		return
	}
	for server, s := range config.Servers {
		for _, listen := range s.Listen {
			addresses, err := parseAddresses([]string{listen}, 0, false)
			if err != nil {
				continue
			}
			for _, na := range addresses {
				for _, key := range socketKeys(na.NetworkAddress) {
					owner := fmt.Sprintf("%s of server %s of the %s app", na, server, name)
					o[key] = owner
					some, all, wide := ports(key)
					if o[some] = owner; wide {
						o[all] = owner
					}
				}
			}
		}
	}
}
