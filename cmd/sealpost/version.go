package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = ""

// versionText is the build's version, else the module's (`go install …@v1.2.3`), else the commit it
// was built from.
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "development"
	}
	return info.Main.Version
}

func versionCommand(_ context.Context, p program, args []string) error {
	if err := p.parse(p.flags("version", "print this program's version"), args); err != nil {
		return err
	}
	_, err := fmt.Fprintf(p.stdout, "sealpost %s (%s %s/%s)\n", versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
