// Package config reads Sealpost's whole configuration from the environment and from secret files into
// one struct, once, and says everything that is wrong with it at once.
//
// An administrator meets this package on the worst evenings, so it is strict and talkative: a value is
// never guessed, rounded or ignored; every problem names the variable, what it got and what it takes;
// a secret's value is in none of them. In production it is also a gate: the program does not start
// with settings that the runbook's sections 1 to 6 forbid.
//
//   - variables.go is the table of all variables; everything else follows it.
//   - Parse reads and checks, and changes nothing. Load then also generates the secrets that a first
//     start lacks.
//   - Secret holds what must never be printed, and cannot be.
package config

import (
	"net/netip"
	"net/url"
	"time"
)

// The values of NODE_ENV. Only production is a gate; test is development with room for extreme values.
const (
	Development = "development"
	Test        = "test"
	Production  = "production"
)

// Config is everything that the environment decides. It is read once at the start and not changed.
// Printing it, in whatever way, shows no secret.
type Config struct {
	Env            string // Development, Test or Production
	Host           string // an address or a host name to listen on, without brackets
	Port           int
	PublicURL      *url.URL // an origin, in the form in which browsers send it: no path, no default port
	TLS            TLS
	TrustedProxies []netip.Prefix // whose X-Forwarded-* is believed
	DataDir        string
	DatabaseURL    Secret // sqlite:PATH or postgres://…; secret because it may hold a password
	Secrets        Secrets

	Audit              Audit
	Auth               Auth
	RotationMaxAgeDays int
	AI                 AI
	Dispatch           Dispatch
	OTLPEndpoint       string // empty: no traces
}

// TLS names the server's own certificate and key, PEM files that are read again when they change.
// Both are empty where a proxy ends TLS.
type TLS struct {
	CertFile, KeyFile string
}

// Secrets are the keys and tokens. The Previous ones are for the time after a planned rotation: they
// verify and decrypt, and never sign or encrypt.
type Secrets struct {
	JWT, JWTPrevious     Secret // any text of 32 bytes or more
	Data, DataPrevious   Secret // Reveal gives the 32 bytes that base64 held
	Audit, AuditPrevious Secret // likewise: Ed25519 seeds
	Bootstrap            Secret // unset outside production unless it was given
	OpenAI               Secret // unset: AI is off
}

// Audit says how the log is sealed and how long its events are kept.
type Audit struct {
	CheckpointEvery time.Duration
	CheckpointDir   string // empty: checkpoints are not copied to a directory
	Witnesses       []Witness
	RetentionDays   int // 0, in NODE_ENV=test only: any earlier checkpoint will do
	RetentionEvery  int // days between enforcements by the server itself; 0: none
}

// Witness is somebody who cosigns checkpoints.
type Witness struct {
	URL string // its submission prefix, without a slash at the end
	Key string // a note verifier; empty: its cosignatures are kept, and not verified here
}

// Auth says who may sign in how, and for how long.
type Auth struct {
	AllowDevLogin     bool
	MFARequired       bool
	PasswordMinLength int           // in code points
	AccessTTL         time.Duration // SESSION_TTL_HOURS: the life of an access token
	SignInTTL         time.Duration // REFRESH_TOKEN_TTL_HOURS: the life of a sign-in
	ReauthMaxAge      time.Duration // how fresh a sign-in the guarded actions need
	Login, Refresh    Throttle
}

// Throttle refuses for Block after MaxAttempts within Window.
type Throttle struct {
	Window      time.Duration
	MaxAttempts int
	Block       time.Duration
}

// AI names the OpenAI-compatible server. Whether AI is on is decided by Secrets.OpenAI alone.
type AI struct {
	BaseURL string // without a slash at the end
	Model   string
}

// Dispatch says how jobs are tried, and which addresses they may reach.
type Dispatch struct {
	MaxAttempts          int
	Backoff              time.Duration // the base of the exponential backoff
	Timeout              time.Duration // of one attempt
	Concurrency          int           // in flight in all
	EndpointConcurrency  int           // in flight at one endpoint
	Alert                Alert
	PayloadRetentionDays int // 0: kept
	AllowPrivateNetworks bool
	AllowedNetworks      []netip.Prefix // allowed even where private networks are not
}

// Alert says when people are told: of dead letters at Threshold within Window, of due jobs that are late by
// Queue. There is no other alert of a kind for Cooldown.
type Alert struct {
	Threshold  int
	Window     time.Duration
	Cooldown   time.Duration
	Queue      time.Duration // how late due jobs may be
	WebhookURL Secret        // a secret, because chat services put the right to post into the URL itself

	WebhookSecret Secret // signs what goes there; unset: it goes unsigned
}

// Production tells whether the production gate holds for this configuration.
func (c *Config) Production() bool { return c.Env == Production }
