// Package docker_test holds docker-compose.yml, the Dockerfiles and the script that generates their secrets to what they
// promise. It reads them with parsers: no container engine is needed, and none is asked whether the images run.
package docker_test

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// composeFile is what docker-compose.yml may say: a key that is not here is an error, so that a
// misspelled one, which Docker might let pass, is found.
type composeFile struct {
	Name     string                `yaml:"name"`
	Hardened yaml.Node             `yaml:"x-hardened"`
	Services map[string]service    `yaml:"services"`
	Networks map[string]*network   `yaml:"networks"`
	Volumes  map[string]*yaml.Node `yaml:"volumes"`
	Secrets  map[string]secret     `yaml:"secrets"`
}

type service struct {
	Image           string             `yaml:"image"`
	Build           *build             `yaml:"build"`
	Profiles        []string           `yaml:"profiles"`
	User            string             `yaml:"user"`
	DependsOn       map[string]depends `yaml:"depends_on"`
	Networks        []string           `yaml:"networks"`
	Ports           []string           `yaml:"ports"`
	Environment     map[string]*string `yaml:"environment"` // nil: passed on from the caller
	Secrets         []string           `yaml:"secrets"`
	Volumes         []string           `yaml:"volumes"`
	Tmpfs           []string           `yaml:"tmpfs"`
	ShmSize         string             `yaml:"shm_size"`
	HealthCheck     *healthCheck       `yaml:"healthcheck"`
	StopGracePeriod string             `yaml:"stop_grace_period"`
	ReadOnly        bool               `yaml:"read_only"`
	CapDrop         []string           `yaml:"cap_drop"`
	SecurityOpt     []string           `yaml:"security_opt"`
	PidsLimit       int                `yaml:"pids_limit"`
	Ulimits         map[string]int     `yaml:"ulimits"`
	Restart         string             `yaml:"restart"`
	Logging         yaml.Node          `yaml:"logging"`
}

type build struct {
	Context    string `yaml:"context"`
	Dockerfile string `yaml:"dockerfile"`
}

type depends struct {
	Condition string `yaml:"condition"`
}

type healthCheck struct {
	Test        []string `yaml:"test"`
	Interval    string   `yaml:"interval"`
	Timeout     string   `yaml:"timeout"`
	Retries     int      `yaml:"retries"`
	StartPeriod string   `yaml:"start_period"`
}

type network struct {
	Internal bool `yaml:"internal"`
}

type secret struct {
	File string `yaml:"file"`
}

func readCompose(t *testing.T) composeFile {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader(readFile(t, "../docker-compose.yml")))
	d.KnownFields(true)
	var c composeFile
	if err := d.Decode(&c); err != nil {
		t.Fatalf("docker-compose.yml: %v", err)
	}
	for _, name := range []string{"postgres", "server", "webhook"} {
		if _, exists := c.Services[name]; !exists {
			t.Fatalf("docker-compose.yml has no service %s", name)
		}
	}
	return c
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// pinned is an image with a version in its tag, not a tag that moves.
var pinned = regexp.MustCompile(`^[a-z0-9./-]+:\d+\.\d+[a-z0-9.-]*$`)

func TestImagesArePinnedByVersion(t *testing.T) {
	t.Parallel()
	for name, s := range readCompose(t).Services {
		if (s.Image == "") == (s.Build == nil) {
			t.Errorf("%s has image %q and build %v: want one of them", name, s.Image, s.Build)
		}
		if s.Image != "" && !pinned.MatchString(s.Image) {
			t.Errorf("%s runs image %q: want a version as its tag", name, s.Image)
		}
	}
}

func TestContainersGetNothingThatTheyDoNotNeed(t *testing.T) {
	t.Parallel()
	for name, s := range readCompose(t).Services {
		if !s.ReadOnly {
			t.Errorf("%s can write to its root file system", name)
		}
		if !slices.Equal(s.CapDrop, []string{"ALL"}) {
			t.Errorf("%s drops capabilities %v, want ALL", name, s.CapDrop)
		}
		if !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s may gain privileges: security_opt is %v", name, s.SecurityOpt)
		}
		if core, set := s.Ulimits["core"]; !set || core != 0 {
			t.Errorf("%s may dump its memory: ulimit core is %d (set: %t), want 0", name, core, set)
		}
		if s.PidsLimit <= 0 {
			t.Errorf("%s has no limit on its processes", name)
		}
		user := s.User
		if s.Build != nil {
			user = readDockerfile(t, s.Build.Dockerfile).user()
		}
		if !nonRoot.MatchString(user) {
			t.Errorf("%s runs as user %q, want a number that is not 0, and a group likewise", name, user)
		}
		if s.HealthCheck == nil && (s.Build == nil || !readDockerfile(t, s.Build.Dockerfile).has("HEALTHCHECK")) {
			t.Errorf("%s has no health check", name)
		}
	}
}

var nonRoot = regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`)

func TestPortsArePublishedOnLoopbackAlone(t *testing.T) {
	t.Parallel()
	for name, s := range readCompose(t).Services {
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s: want 127.0.0.1, with a TLS proxy in front of it", name, port)
			}
		}
	}
}

func TestOnlyTheServerReachesTheDatabase(t *testing.T) {
	t.Parallel()
	c := readCompose(t)
	if ports := c.Services["postgres"].Ports; len(ports) > 0 {
		t.Errorf("postgres publishes ports %v, want none", ports)
	}
	for _, name := range c.Services["postgres"].Networks {
		if n := c.Networks[name]; n == nil || !n.Internal {
			t.Errorf("postgres is on network %s, which is not internal", name)
		}
		for other, s := range c.Services {
			if other != "postgres" && other != "server" && slices.Contains(s.Networks, name) {
				t.Errorf("%s shares network %s with the database", other, name)
			}
		}
	}
	for name, s := range c.Services {
		if len(s.Networks) == 0 {
			t.Errorf("%s names no network, and so is on the default one with everything else", name)
		}
		for _, n := range s.Networks {
			if _, exists := c.Networks[n]; !exists {
				t.Errorf("%s is on network %s, which does not exist", name, n)
			}
		}
	}
}

func TestVolumesExistAndNothingOfTheHostIsMounted(t *testing.T) {
	t.Parallel()
	c := readCompose(t)
	for name, s := range c.Services {
		for _, mount := range s.Volumes {
			volume, _, _ := strings.Cut(mount, ":")
			if _, exists := c.Volumes[volume]; !exists {
				t.Errorf("%s mounts %s, which is not a volume of this file", name, mount)
			}
		}
	}
}

// secretName matches variables whose value must come from a file.
var secretName = regexp.MustCompile(`PASSWORD|SECRET|SEED|KEY|TOKEN$|DATABASE_URL`)

func TestSecretsComeFromFilesAndHaveNoDefaults(t *testing.T) {
	t.Parallel()
	c := readCompose(t)
	for name, s := range c.Services {
		for variable, value := range s.Environment {
			if !secretName.MatchString(variable) {
				continue
			}
			mounted, isFile := strings.CutPrefix(deref(value), "/run/secrets/")
			if !strings.HasSuffix(variable, "_FILE") || !isFile {
				t.Errorf("%s: %s is set to %q: want a variable that ends in _FILE and names a secret", name, variable, deref(value))
			} else if !slices.Contains(s.Secrets, mounted) {
				t.Errorf("%s: %s names the secret %s, which the service does not get", name, variable, mounted)
			}
		}
		for _, used := range s.Secrets {
			if c.Secrets[used].File == "" {
				t.Errorf("%s uses the secret %s, which has no file", name, used)
			}
		}
	}
	for name, s := range c.Secrets {
		if s.File != "docker/secrets/"+name {
			t.Errorf("secret %s comes from %q, want docker/secrets/%s", name, s.File, name)
		}
	}
	if !strings.Contains(string(readFile(t, "../.gitignore")), "/docker/secrets/\n") {
		t.Error(".gitignore does not keep docker/secrets out of commits")
	}
	if !strings.HasPrefix(string(withoutComments(readFile(t, "../.dockerignore"))), "*\n") {
		t.Error(".dockerignore does not begin by keeping everything out of the images' builds")
	}
}

// defaulted finds ${NAME:-value}, the way in which a default password would come in by interpolation.
var defaulted = regexp.MustCompile(`\$\{(\w+):?-`)

func TestNoSecretHasADefaultByInterpolation(t *testing.T) {
	t.Parallel()
	for _, m := range defaulted.FindAllSubmatch(readFile(t, "../docker-compose.yml"), -1) {
		if secretName.Match(m[1]) {
			t.Errorf("%s has a default value", m[1])
		}
	}
}

func TestServiceStartsOnlyAfterAHealthyDatabase(t *testing.T) {
	t.Parallel()
	if got := readCompose(t).Services["server"].DependsOn["postgres"].Condition; got != "service_healthy" {
		t.Errorf("server starts when postgres is %q, want service_healthy", got)
	}
}

func TestPasswordsOfTheDatabaseAreAskedForAndHashed(t *testing.T) {
	t.Parallel()
	env := readCompose(t).Services["postgres"].Environment
	if got := deref(env["POSTGRES_HOST_AUTH_METHOD"]); got != "scram-sha-256" {
		t.Errorf("PostgreSQL's connections authenticate by %q, want scram-sha-256", got)
	}
	if got := deref(env["POSTGRES_INITDB_ARGS"]); !strings.Contains(got, "--auth-local=scram-sha-256") || strings.Contains(got, "trust") {
		t.Errorf("PostgreSQL is initialised with %q, want scram-sha-256 also for local connections", got)
	}
}

// documented are the variables in the first column of a table in docs/configuration.md.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	variable := regexp.MustCompile("`((?:TOKENVAULT|TV_WEBHOOK)_[A-Z_]+)`")
	for line := range strings.Lines(string(readFile(t, "../docs/configuration.md"))) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		first, _, _ := strings.Cut(line[1:], "|")
		for _, m := range variable.FindAllStringSubmatch(first, -1) {
			found[m[1]] = true
		}
	}
	if len(found) < 10 {
		t.Fatalf("docs/configuration.md documents %d variables: its tables are not read correctly", len(found))
	}
	return found
}

func TestEveryVariableIsDocumented(t *testing.T) {
	t.Parallel()
	known := documented(t)
	for name, s := range readCompose(t).Services {
		variables := []string{}
		for variable := range s.Environment {
			variables = append(variables, variable)
		}
		if s.Build != nil {
			variables = append(variables, readDockerfile(t, s.Build.Dockerfile).variables()...)
		}
		for _, variable := range variables {
			if strings.HasPrefix(variable, "POSTGRES_") && name == "postgres" {
				continue // documented by the image
			}
			if !known[variable] {
				t.Errorf("%s sets %s, which docs/configuration.md does not know", name, variable)
			}
		}
	}
}

func deref(value *string) string {
	if value == nil {
		return ""
	}
	return *value
}

func withoutComments(text []byte) []byte {
	var kept []byte
	for line := range bytes.Lines(text) {
		if trimmed := bytes.TrimSpace(line); len(trimmed) > 0 && trimmed[0] != '#' {
			kept = append(kept, line...)
		}
	}
	return kept
}
