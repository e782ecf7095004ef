// Package caddymsa imports the mail submission server and all of its modules, so
// that `xcaddy build --with github.com/caddy-msa/caddy-msa` has them.
package caddymsa

import (
	_ "github.com/caddy-msa/caddy-msa/caddymsa"
	_ "github.com/caddy-msa/caddy-msa/modules/authclientcert"
	_ "github.com/caddy-msa/caddy-msa/modules/authdovecot"
	_ "github.com/caddy-msa/caddy-msa/modules/authfile"
	_ "github.com/caddy-msa/caddy-msa/modules/authhttp"
	_ "github.com/caddy-msa/caddy-msa/modules/authldap"
	_ "github.com/caddy-msa/caddy-msa/modules/authoauth"
	_ "github.com/caddy-msa/caddy-msa/modules/authsql"
	_ "github.com/caddy-msa/caddy-msa/modules/authstatic"
	_ "github.com/caddy-msa/caddy-msa/modules/cmdauth"
	_ "github.com/caddy-msa/caddy-msa/modules/cmdqueue"
	_ "github.com/caddy-msa/caddy-msa/modules/cmdsend"
	_ "github.com/caddy-msa/caddy-msa/modules/cmduser"
	_ "github.com/caddy-msa/caddy-msa/modules/matchers"
	_ "github.com/caddy-msa/caddy-msa/modules/policycontent"
	_ "github.com/caddy-msa/caddy-msa/modules/policyrate"
	_ "github.com/caddy-msa/caddy-msa/modules/policyrecipients"
	_ "github.com/caddy-msa/caddy-msa/modules/policysender"
	_ "github.com/caddy-msa/caddy-msa/modules/policysize"
	_ "github.com/caddy-msa/caddy-msa/modules/policytime"
	_ "github.com/caddy-msa/caddy-msa/modules/sinkdirectory"
	_ "github.com/caddy-msa/caddy-msa/modules/sinkdiscard"
	_ "github.com/caddy-msa/caddy-msa/modules/sinkmaildir"
	_ "github.com/caddy-msa/caddy-msa/modules/sinkpipe"
	_ "github.com/caddy-msa/caddy-msa/modules/sinkrelay"
	_ "github.com/caddy-msa/caddy-msa/modules/spoolfile"
)
