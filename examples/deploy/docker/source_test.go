//go:build linux

package docker

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// goCommand is all that the image golang has to have here: there is no registry to get the real one from.
const goCommand = `#!/bin/sh
[ "$CGO_ENABLED" = 0 ] && [ -f examples/go.mod ] && [ -f examples/gin/main.go ] || exit 1
[ "$*" = "-C examples build -trimpath -ldflags -s -w -X main.version=v9 -o /out/app ./gin" ] ||
	{ echo "go $*"; exit 1; }
busybox mkdir -p /out && busybox cp /prebuilt /out/app
`

// fromSource runs the stages of Dockerfile.source. What they make is the same image as that of Dockerfile.
func fromSource(t *testing.T, s *site) {
	busybox := flow.Tool(t, "busybox", "apt-get install busybox")
	libraries, err := exec.Command("ldd", busybox).CombinedOutput()
	if err != nil {
		t.Fatalf("ldd: %v\n%s", err, libraries)
	}
	command := flow.WriteFile(t, t.TempDir(), "go", goCommand)
	if err := os.Chmod(command, 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"busybox": busybox, "prebuilt": flow.Static(t, "gin", "v9", ""), "go": command}
	image := "FROM scratch\nCOPY busybox /bin/\nCOPY busybox /bin/sh\nCOPY go /bin/\nCOPY prebuilt /\n"
	for _, word := range strings.Fields(string(libraries)) {
		if strings.HasPrefix(word, "/") {
			name := filepath.Base(word)
			files[name] = word
			image += "COPY " + name + " " + word + "\n"
		}
	}
	s.Image("golang:1.25", image, files)
	s.Docker("build", "-q", "-t", "source", "-f", "Dockerfile.source", "--build-arg", "VERSION=v9",
		filepath.Join("..", "..", ".."))

	const config = "{{json .Config.Entrypoint}} {{json .Config.Env}} {{json .Config.Healthcheck}} " +
		"{{json .Config.WorkingDir}} {{json .Config.StopSignal}} {{json .Config.ExposedPorts}}"
	inspect := func(image string) string { return s.Docker("image", "inspect", "-f", config, image) }
	if app, source := inspect("app"), inspect("source"); app != source {
		t.Errorf("Dockerfile.source makes\n%s\nand Dockerfile\n%s", source, app)
	}
	c := s.container("source", "source", "--restart", "no") // the port is the other one's
	c.serves("v9", 1)
	c.do(0, "stop")
}
