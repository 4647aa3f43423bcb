// Package interop has other people's tools read what Sealpost serves: here, Tessera's client and fsck
// (github.com/transparency-dev/tessera) the sealed audit log as C2SP tlog-tiles (runbook §6). It is a module
// of its own, so that what those tools bring along does not get into the program's go.mod, and speaks to the
// program by its port alone.
package interop
