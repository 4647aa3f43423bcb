package web

import (
	"net/http"

	"sealpost/account"
)

// The device cookie says that this browser has signed in before, so that a flood of sign-ins at an account
// does not keep its owner out (account/device.go). It is sent to the sign-in of the API and of the pages,
// is no factor and opens nothing. Over TLS its name has the prefix that keeps neighbouring hosts from
// setting it.
const (
	deviceCookieTLS   = "__Host-sealpost_device"
	deviceCookiePlain = "sealpost_device"
)

func (s *Server) deviceCookieName() string {
	if s.secureCookies() {
		return deviceCookieTLS
	}
	return deviceCookiePlain
}

// deviceOf gives the device cookie of a request, "" where there is none, or two, of which nobody can tell
// which somebody else has set.
func (s *Server) deviceOf(r *http.Request) string {
	if cookies := r.CookiesNamed(s.deviceCookieName()); len(cookies) == 1 {
		return cookies[0].Value
	}
	return ""
}

// deviceCookie gives a browser that has signed in its cookie, nil where there is none to give.
func (s *Server) deviceCookie(in account.SignIn) *http.Cookie {
	if in.Device == "" {
		return nil
	}
	return &http.Cookie{ //nolint:gosec // Secure wherever there is TLS: a pilot on http://localhost has none
		Name: s.deviceCookieName(), Value: in.Device, Path: "/", Expires: in.DeviceExpiresAt,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.secureCookies(),
	}
}

// signInCookies are the cookies of the API's answer to a sign-in or a refresh, as Set-Cookie has them.
func (s *Server) signInCookies(in account.SignIn) []string {
	list := []string{s.refreshCookie(in)}
	if c := s.deviceCookie(in); c != nil {
		list = append(list, c.String())
	}
	return list
}
