package docker_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A dockerfile is its instructions in order, continued lines joined and comments left out.
type dockerfile []instruction

type instruction struct {
	name string // upper case
	args string
}

// readDockerfile reads one by its path in the repository.
func readDockerfile(t *testing.T, path string) dockerfile {
	t.Helper()
	text := strings.ReplaceAll(string(withoutComments(readFile(t, filepath.Join("..", path)))), "\\\n", " ")
	var d dockerfile
	for line := range strings.Lines(text) {
		name, args, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !slices.Contains(instructionNames, name) {
			t.Fatalf("%s: %q is no instruction that an image of ours uses", path, name)
		}
		d = append(d, instruction{name: name, args: strings.Join(strings.Fields(args), " ")})
	}
	if len(d.all("FROM")) == 0 {
		t.Fatalf("%s has no FROM", path)
	}
	return d
}

var instructionNames = []string{"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT"}

// all returns the arguments of every instruction of that name.
func (d dockerfile) all(name string) []string {
	var found []string
	for _, i := range d {
		if i.name == name {
			found = append(found, i.args)
		}
	}
	return found
}

func (d dockerfile) has(name string) bool { return len(d.all(name)) > 0 }

// last returns the instructions of the last stage: the image that runs.
func (d dockerfile) last() dockerfile {
	start := 0
	for i := range d {
		if d[i].name == "FROM" {
			start = i
		}
	}
	return d[start:]
}

// user is whom the image runs as: root unless it says otherwise.
func (d dockerfile) user() string {
	users := d.last().all("USER")
	if len(users) == 0 {
		return "0:0"
	}
	return users[len(users)-1]
}

// variables are the names that ENV sets in the image that runs.
func (d dockerfile) variables() []string {
	var names []string
	for _, env := range d.last().all("ENV") {
		for _, pair := range strings.Fields(env) {
			name, _, _ := strings.Cut(pair, "=")
			names = append(names, name)
		}
	}
	return names
}

var dockerfiles = map[string]string{ // the file, and the command that it builds
	"docker/Dockerfile.server":  "server",
	"docker/Dockerfile.webhook": "webhook-sdk/cmd/tv-webhook",
}

func TestImagesAreBuiltFromAPinnedGoAndHoldOneStaticProgram(t *testing.T) {
	t.Parallel()
	language := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(readFile(t, "../go.mod")))
	if language == nil {
		t.Fatal("go.mod names no Go version")
	}
	for path, command := range dockerfiles {
		d := readDockerfile(t, path)
		image, _, _ := strings.Cut(d[0].args, " ")
		if d[0].name != "FROM" || !pinned.MatchString(image) || !strings.HasPrefix(image, "golang:"+language[1]+".") {
			t.Errorf("%s is built with %q, want golang:%s.x by its version", path, image, language[1])
		}
		if got := d.last().all("FROM"); !slices.Equal(got, []string{"scratch"}) {
			t.Errorf("%s runs on %v, want scratch: no shell, no package manager", path, got)
		}
		compile := strings.Join(d.all("RUN"), "\n")
		for _, want := range []string{"CGO_ENABLED=0 go build", "-trimpath", " ./" + command} {
			if !strings.Contains(compile, want) {
				t.Errorf("%s does not build with %q", path, want)
			}
		}
		if d.last().has("RUN") {
			t.Errorf("%s runs something in the image without a shell", path)
		}
		if info, err := os.Stat(filepath.Join("..", command)); err != nil || !info.IsDir() {
			t.Errorf("%s builds ./%s, which is not a folder: %v", path, command, err)
		}
	}
}

func TestImagesRunTheirProgramWithoutAShellAndNotAsRoot(t *testing.T) {
	t.Parallel()
	for path := range dockerfiles {
		d := readDockerfile(t, path).last()
		if user := d.user(); !nonRoot.MatchString(user) {
			t.Errorf("%s runs as %q, want a number that is not 0, and a group likewise", path, user)
		}
		var entry []string
		if err := json.Unmarshal([]byte(strings.Join(d.all("ENTRYPOINT"), "")), &entry); err != nil || len(entry) != 1 {
			t.Fatalf("%s has the entry point %v: want a JSON list of one program", path, d.all("ENTRYPOINT"))
		}
		if !slices.ContainsFunc(d.all("COPY"), func(args string) bool { return strings.HasSuffix(args, " "+entry[0]) }) {
			t.Errorf("%s starts %s, which it does not copy into the image", path, entry[0])
		}
		_, check, _ := strings.Cut(strings.Join(d.all("HEALTHCHECK"), ""), " CMD ")
		if want := `["` + entry[0] + `", "health"]`; check != want {
			t.Errorf("%s checks its health by %s, want %s", path, check, want)
		}
	}
}

func TestBuildsSeeGoSourceAlone(t *testing.T) {
	t.Parallel()
	for line := range strings.Lines(string(withoutComments(readFile(t, "../.dockerignore")))) {
		name, exception := strings.CutPrefix(strings.TrimSpace(line), "!")
		if !exception {
			continue
		}
		for _, never := range []string{"docker", "docs", ".git", ".env", "*"} {
			if strings.HasPrefix(name, never) {
				t.Errorf(".dockerignore lets %s into the images' builds", name)
			}
		}
	}
}

func TestTheServersImageErasesWorkWithKeys(t *testing.T) {
	t.Parallel()
	compile := strings.Join(readDockerfile(t, "docker/Dockerfile.server").all("RUN"), "\n")
	if want := "GOEXPERIMENT=runtimesecret CGO_ENABLED=0 go build"; !strings.Contains(compile, want) {
		t.Errorf("the server is built by %q, want %q in it", compile, want)
	}
	if makefile := string(readFile(t, "../Makefile")); !strings.Contains(makefile, "\nSECRET := GOEXPERIMENT=runtimesecret\n") ||
		!strings.Contains(makefile, "\t$(SECRET) $(BUILD) -o bin/tokenvault ./server\n") {
		t.Error("`make build` does not build the server with GOEXPERIMENT=runtimesecret")
	}
}
