#!/usr/bin/env bash
# Builds Traefik from its Go module: traefik.sh GO OUTPUT
#
# Its routers, entry points and ForwardAuth are compiled as they are. What is changed is what the module alone does not bring or
# what hangs on libraries that are not always to be had, none of it asked for by our tests: the nested module of hub extensions,
# which is empty (it is not in the module's archive); its fork of the Basic and Digest middlewares' library, for which the original
# stands; and the DNS providers of ACME, of which there are none.
set -euo pipefail
go="$1" output="$2" version=v3.7.13
export CGO_ENABLED=0 GOFLAGS=-buildvcs=false
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
module="$(cd "$work" && "$go" mod download -json "github.com/traefik/traefik/v3@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')"
# `replace` counts in the main module only, so it has to be that.
cp -r "$module" "$work/traefik"
chmod -R u+w "$work/traefik"
cd "$work/traefik"
mkdir -p pkg/config/dynamic/ext
printf 'module github.com/traefik/traefik/dynamic/ext\n\ngo 1.26\n' >pkg/config/dynamic/ext/go.mod
printf 'package ext\n\ntype HTTP struct{}\n\ntype Router struct{}\n' >pkg/config/dynamic/ext/ext.go
auth="$("$go" mod download -json github.com/abbot/go-http-auth@v0.4.0 | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')"
cp -r "$auth" "$work/auth"
chmod -R u+w "$work/auth"
printf 'module github.com/abbot/go-http-auth\n\ngo 1.21\n\nrequire (\n\tgolang.org/x/crypto v0.56.0\n\tgolang.org/x/net v0.58.0\n)\n' >"$work/auth/go.mod"
# What the fork adds. So the two middlewares let nobody in.
cat >"$work/auth/fork.go" <<'GO'
package auth

import "net/http"

func CheckSecret(password, secret string) bool { return false }

func (a *DigestAuth) RequireAuthStale(w http.ResponseWriter, r *http.Request) { a.RequireAuth(w, r) }
GO
"$go" mod edit -replace github.com/abbot/go-http-auth=../auth
acme=pkg/provider/acme/provider.go
sed -i '/"github.com\/go-acme\/lego\/v5\/providers\/dns"/d
        s/dns\.NewDNSChallengeProviderByName(\(.*\))/nil, fmt.Errorf("no DNS providers in this build: %s", \1)/' "$acme"
mkdir -p "$(dirname "$output")"
"$go" build -mod=mod -o "$output.new" ./cmd/traefik
mv "$output.new" "$output"
