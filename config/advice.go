package config

import (
	"net/netip"
	"slices"
)

// advise warns about settings that are allowed and probably not meant.
func (r *reading) advise() {
	c := r.config
	if c.Auth.AccessTTL > c.Auth.SignInTTL {
		r.warn("SESSION_TTL_HOURS is longer than REFRESH_TOKEN_TTL_HOURS: a sign-in ends after the latter")
	}
	if c.PublicURL.Scheme == "http" {
		switch {
		case c.TLS.CertFile != "":
			r.warn("PUBLIC_URL is http while TLS_CERT_FILE is set: links, token issuer and passkeys will not match what browsers see")
		case c.Production() && !onlyHere(c.PublicURL.Hostname()):
			r.warn("PUBLIC_URL is http: browsers refuse passkeys and secure cookies there; name the https origin that people use")
		}
	}
	if !c.Production() {
		return
	}
	if inClear(string(c.DatabaseURL.Reveal())) {
		r.warn("DATABASE_URL allows connections in clear over a network: add sslmode=verify-full")
	}
	if everywhere(c.TrustedProxies) {
		r.warn("TRUSTED_PROXIES names every address: anybody can say in X-Forwarded-For who they are")
	}
	if everywhere(c.Dispatch.AllowedNetworks) {
		r.warn("DISPATCH_ALLOWED_NETWORKS names every address: endpoints may lead into the private network")
	}
}

// everywhere tells whether a list of networks takes in every address there is.
func everywhere(list []netip.Prefix) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Bits() == 0 })
}
