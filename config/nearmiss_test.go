package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestNearMisses(t *testing.T) {
	for name, want := range map[string]string{
		"JWT_SECERT":                         "JWT_SECRET",
		"JWT_SECRETS":                        "JWT_SECRET",
		"JWTSECRET":                          "JWT_SECRET",
		"jwt_secret":                         "JWT_SECRET",
		"JWT-SECRET":                         "JWT_SECRET",
		"JWT_SECRET_PREVOIUS":                "JWT_SECRET_PREVIOUS",
		"JWT_SECRET_FIEL":                    "JWT_SECRET_FILE",
		"jwt_secret_file":                    "JWT_SECRET_FILE",
		"DISPATCH_MAX_ATTEMPT":               "DISPATCH_MAX_ATTEMPTS",
		"DISPATCH_CONCURENCY":                "DISPATCH_CONCURRENCY",
		"PASSWORD_MINLENGTH":                 "PASSWORD_MIN_LENGTH",
		"PASWORD_MIN_LENGHT":                 "PASSWORD_MIN_LENGTH",
		"MFA_REQUIRE":                        "MFA_REQUIRED",
		"ALLOW_DEVLOGIN":                     "ALLOW_DEV_LOGIN",
		"AUDIT_RETENTION_DAY":                "AUDIT_RETENTION_DAYS",
		"OPEN_AI_API_KEY":                    "OPENAI_API_KEY",
		"OTEL_EXPORTER_OTLP_ENDPIONT":        "OTEL_EXPORTER_OTLP_ENDPOINT",
		"DATABASE_URI":                       "DATABASE_URL",
		"NODEENV":                            "NODE_ENV",
		"NODE_EVN":                           "NODE_ENV",
		"DATADIR":                            "DATA_DIR",
		"PROT":                               "PORT",
		"port":                               "PORT",
		"CREDENTIAL_DIRECTORY":               "CREDENTIALS_DIRECTORY",
		"AUTH_LOGIN_WINDOW_SECOND":           "AUTH_LOGIN_WINDOW_SECONDS",
		"DISPATCH_DEADLETTER_ALERT_TRESHOLD": "DISPATCH_DEAD_LETTER_ALERT_THRESHOLD",
	} {
		_, warnings, err := Parse([]string{name + "=" + hidden})
		if want := fmt.Sprintf("%s is not read; is %s meant?", name, want); err != nil || len(warnings) != 1 || warnings[0] != want {
			t.Errorf("%s: got %v, %v", name, warnings, err)
		}
		mustNotShow(t, fmt.Sprint(warnings), hidden)
	}
}

func TestFileOfWhatIsNoSecret(t *testing.T) {
	for _, v := range Variables() {
		_, warnings, err := Parse([]string{v.Name + "_FILE=/dev/null"})
		if v.Secret {
			if err == nil {
				t.Errorf("%s_FILE is not read", v.Name)
			}
			continue
		}
		want := fmt.Sprintf("%s_FILE is not read: %s is no secret and comes only as itself", v.Name, v.Name)
		if err != nil || len(warnings) != 1 || warnings[0] != want {
			t.Errorf("got %v, %v, want %s", warnings, err, want)
		}
	}
}

// What shells, service managers, container platforms and other programs set is no near miss.
func TestOrdinaryVariables(t *testing.T) {
	ordinary := strings.Fields(`
		PATH HOME HOSTNAME HOSTTYPE USER USERNAME LOGNAME SHELL SHLVL TERM PWD OLDPWD LANG LANGUAGE LC_ALL TZ TMPDIR TEMP TMP
		EDITOR VISUAL PAGER DISPLAY MAIL PS1 IFS _ LINES COLUMNS RANDOM DEBUG LOG_LEVEL PORTS HOSTS POST HOST_IP HOST_PORT SORT
		GOPATH GOROOT GOBIN GOCACHE GOFLAGS GOPROXY GODEBUG GOMAXPROCS GOMEMLIMIT GOTOOLCHAIN GOENV CGO_ENABLED
		NODE_PATH NODE_OPTIONS NODE_NAME NODE_VERSION NODE_HOME NODE_EXTRA_CA_CERTS NPM_TOKEN ENV APP_ENV RAILS_ENV FLASK_ENV
		HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy all_proxy SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE
		REQUESTS_CA_BUNDLE INVOCATION_ID JOURNAL_STREAM LISTEN_PID LISTEN_FDS NOTIFY_SOCKET WATCHDOG_USEC STATE_DIRECTORY
		RUNTIME_DIRECTORY CACHE_DIRECTORY LOGS_DIRECTORY CONFIGURATION_DIRECTORY SYSTEMD_EXEC_PID MEMORY_PRESSURE_WATCH
		KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT KUBERNETES_PORT POD_NAME POD_IP DATABASE_PORT DATABASE_SERVICE_HOST
		PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE PGSSLMODE POSTGRES_URL POSTGRES_USER POSTGRES_PASSWORD POSTGRES_DB REDIS_URL
		DATABASE_USER DATABASE_NAME DATABASE_HOST DATABASE_PASSWORD DB_URL MYSQL_URL SECRET_KEY API_KEY API_URL BASE_URL APP_URL
		AWS_REGION AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN GOOGLE_APPLICATION_CREDENTIALS AZURE_CLIENT_ID
		OPENAI_ORG_ID OPENAI_ORGANIZATION OPENAI_PROJECT OPENAI_API_BASE OPENAI_API_VERSION OPENAI_LOG ANTHROPIC_API_KEY
		OTEL_SERVICE_NAME OTEL_RESOURCE_ATTRIBUTES OTEL_EXPORTER_OTLP_HEADERS OTEL_EXPORTER_OTLP_PROTOCOL OTEL_EXPORTER_OTLP_TIMEOUT
		OTEL_EXPORTER_OTLP_TRACES_ENDPOINT OTEL_EXPORTER_OTLP_METRICS_ENDPOINT OTEL_EXPORTER_OTLP_INSECURE OTEL_TRACES_SAMPLER
		JWT_ISSUER JWT_AUDIENCE JWT_SECRET_KEY JWT_EXPIRY PUBLIC_KEY PUBLIC_IP PUBLIC_PORT TLS_CA_FILE DATA_HOME XDG_DATA_HOME XDG_DATA_DIRS
		CI GITHUB_TOKEN GITHUB_ACTIONS BUILD_ID DOCKER_HOST DYNO RENDER FLY_APP_NAME SUDO_USER SSH_AUTH_SOCK SSH_CONNECTION DBUS_SESSION_BUS_ADDRESS`)
	var environ []string
	for _, name := range ordinary {
		environ = append(environ, name+"=x")
	}
	environ = append(environ, "=C:=C:\\", "without a sign", "")
	_, warnings, err := Parse(environ)
	if err != nil || len(warnings) > 0 {
		t.Error(err, strings.Join(warnings, "\n"))
	}
}

// No variable of ours is taken for a near miss of another one.
func TestOwnVariablesAreNoNearMisses(t *testing.T) {
	environ := production(t, "CREDENTIALS_DIRECTORY="+t.TempDir())
	for _, v := range Variables() {
		environ = append(environ, v.Name+"=", v.Name+"_FILE=")
	}
	_, warnings, _ := Parse(environ)
	for _, w := range warnings {
		if strings.Contains(w, "meant?") {
			t.Error(w)
		}
	}
	if _, warnings, err := Parse(append(os.Environ(), production(t)...)); err == nil && len(warnings) > 0 {
		t.Log("this machine's own environment:", warnings)
	}
}

func TestMistakes(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"ABC", "ABC", 0},
		{"ABC", "ACB", 1},
		{"ABC", "ABD", 1},
		{"ABC", "AB", 1},
		{"ABC", "XABC", 1},
		{"CA", "ABC", 3},
		{"KITTEN", "SITTING", 3},
		{"SECERT", "SECRET", 1},
		{"ABCDEF", "BADCFE", 3},
		{"ABC", "", many},
		{strings.Repeat("A", 63), strings.Repeat("A", 62) + "B", 1},
		{strings.Repeat("A", 64), strings.Repeat("A", 63), many},
	} {
		if got := mistakes(tt.a, tt.b); got != tt.want {
			t.Errorf("%q to %q: got %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := mistakes(tt.b, tt.a); got != tt.want {
			t.Errorf("%q to %q: got %d, want %d", tt.b, tt.a, got, tt.want)
		}
		if got := mistakes(strings.ToLower(tt.a), tt.b); got != tt.want {
			t.Errorf("%q to %q in lower case: got %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
	for _, v := range Variables() {
		if len(v.Name+"_FILE") > longestName {
			t.Errorf("%s is too long to be missed by a letter", v.Name)
		}
	}
}
