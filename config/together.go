package config

import (
	"crypto/tls"
	"os"
)

// checkTogether checks what only several variables can get wrong.
func (r *reading) checkTogether() {
	r.checkTLS()
	r.checkSecretsDiffer()
	c := r.config
	// In production the gate says more about it, and with a wrong NODE_ENV it may be right.
	if c.Audit.RetentionDays == 0 && c.Env == Development && !r.refused("AUDIT_RETENTION_DAYS") && !r.refused("NODE_ENV") {
		r.problem("AUDIT_RETENTION_DAYS", `"0"`, "at least 1; 0 only in NODE_ENV=test")
	}
	if info, err := os.Stat(c.DataDir); err == nil && !info.IsDir() {
		r.problem("DATA_DIR", quoted(c.DataDir)+" (a file)", "a directory")
	}
	if info, err := os.Stat(c.Audit.CheckpointDir); err == nil && !info.IsDir() {
		r.problem("AUDIT_CHECKPOINT_DIR", quoted(c.Audit.CheckpointDir)+" (a file)", "a directory")
	}
}

// checkTLS reads the certificate and its key, so that a pair that does not fit stops the start rather
// than every connection after it.
func (r *reading) checkTLS() {
	files := r.config.TLS
	switch {
	case files.CertFile == "" && files.KeyFile == "", r.refused("TLS_CERT_FILE"), r.refused("TLS_KEY_FILE"):
		return
	case files.CertFile == "":
		r.problem("TLS_CERT_FILE", "nothing, while TLS_KEY_FILE is set", "the certificate of that key")
		return
	case files.KeyFile == "":
		r.problem("TLS_KEY_FILE", "nothing, while TLS_CERT_FILE is set", "the key of that certificate")
		return
	}
	cert, certErr := os.ReadFile(files.CertFile)
	if certErr != nil {
		r.problem("TLS_CERT_FILE", whyUnread(files.CertFile, certErr), "the path of a PEM file that can be read")
	}
	key, keyErr := os.ReadFile(files.KeyFile)
	if keyErr != nil {
		r.problem("TLS_KEY_FILE", whyUnread(files.KeyFile, keyErr), "the path of a PEM file that can be read")
	}
	if certErr != nil || keyErr != nil {
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		r.problem("TLS_CERT_FILE", "with TLS_KEY_FILE: "+err.Error(), "a certificate and, in TLS_KEY_FILE, its key")
	}
}

// checkSecretsDiffer refuses one value in two places. A key that two purposes share is lost for both
// when one leaks; a previous key that is the current one means that nothing was rotated.
func (r *reading) checkSecretsDiffer() {
	var names []string
	var set []Secret
	eachVariable(func(v variable) {
		if v.kind == nil || v.Name == "DATABASE_URL" {
			return
		}
		s := *v.place(r.config)
		for i, other := range set {
			if s.Overlaps(other) {
				r.problem(v.Name, "the value of "+names[i], "a value of its own")
				break
			}
		}
		names, set = append(names, v.Name), append(set, s)
	})
}
