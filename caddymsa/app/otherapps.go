package app

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/caddy-msa/caddy-msa/caddymsa/app/places"
)

// otherApps are Caddy's apps that listen too. Their servers look alike in JSON, which spares linking them.
var otherApps = []string{"http", "layer4"}

// checkOtherApps refuses a socket on which another app of this configuration listens: the kernel would deal the clients
// out between both. It is for Start, when all apps are provisioned: to ask for one earlier would provision it, and its
// handlers ask for this app.
func (app *App) checkOtherApps() error {
	owners := make(map[string]string)
	for _, name := range otherApps {
		other, err := app.ctx.AppIfConfigured(name)
		if err != nil {
			continue
		}
		addOwners(owners, name, other)
	}
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		for _, na := range app.Servers[name].addresses {
			for _, key := range socketKeys(na.NetworkAddress) {
				if owner, taken := owners[key]; taken {
					return places.At(app.Servers[name].linesOf(na), fmt.Errorf("server %s: %s is the same socket as %s; give each an address of its own", name, na, owner))
				}
			}
		}
	}
	return nil
}

// addOwners adds what an app's servers listen on. What cannot be read is for that app to say.
func addOwners(owners map[string]string, name string, app any) {
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
					owners[key] = fmt.Sprintf("%s of server %s of the %s app", na, server, name)
				}
			}
		}
	}
}
