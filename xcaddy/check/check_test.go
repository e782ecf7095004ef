// Package check reads the manifests beside it as those who run them do. It is a module of its own, so that what is
// needed for that is no requirement of the server.
package check

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	kustomize "sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// gracePeriod is the server's default, in which it finishes what is under way.
const gracePeriod = 30 * time.Second

// decode reads a document into the type that its kind names: a field that is not there, twice there or of another type is an error.
func decode(t *testing.T, document []byte) any {
	t.Helper()
	var kind struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(document, &kind); err != nil {
		t.Fatal(err)
	}
	types := map[string]any{
		"v1 Namespace": new(corev1.Namespace), "v1 ConfigMap": new(corev1.ConfigMap), "apps/v1 Deployment": new(appsv1.Deployment), "v1 Service": new(corev1.Service),
		"policy/v1 PodDisruptionBudget": new(policyv1.PodDisruptionBudget), "kustomize.config.k8s.io/v1beta1 Kustomization": new(kustomize.Kustomization),
	}
	into, ok := types[kind.APIVersion+" "+kind.Kind]
	if !ok {
		t.Fatalf("%+v is not known", kind)
	}
	if err := yaml.UnmarshalStrict(document, into, yaml.DisallowUnknownFields); err != nil {
		t.Fatalf("%+v: %v", kind, err)
	}
	return into
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Kubernetes takes the manifests, and what they refer to is there: three nodes, probes on /msa/health, ports by their
// names, and time to end in.
func TestKubernetes(t *testing.T) {
	k := decode(t, read(t, "../kubernetes/kustomization.yaml")).(*kustomize.Kustomization)
	if !slices.Equal(k.Resources, []string{"caddy-msa.yaml"}) || len(k.ConfigMapGenerator) != 1 {
		t.Errorf("%+v", k)
	}
	var deployment *appsv1.Deployment
	var service *corev1.Service
	var budget *policyv1.PodDisruptionBudget
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), "../kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	all, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	var config *corev1.ConfigMap
	for document := range bytes.SplitSeq(all, []byte("\n---\n")) {
		switch d := decode(t, document).(type) {
		case *appsv1.Deployment:
			deployment = d
		case *corev1.Service:
			service = d
		case *policyv1.PodDisruptionBudget:
			budget = d
		case *corev1.ConfigMap:
			config = d
		}
	}
	pod := deployment.Spec.Template.Spec
	c := pod.Containers[0]
	if !strings.HasPrefix(config.Name, "caddy-msa-") || config.Data["Caddyfile"] != string(read(t, "../kubernetes/Caddyfile")) {
		t.Errorf("%+v", config)
	}
	// A tag that is not latest: the node's copy of the image is the one that is meant.
	if _, tag, _ := strings.Cut(c.Image, ":"); tag == "" || tag == "latest" {
		t.Errorf("the image is %s", c.Image)
	}
	if *deployment.Spec.Replicas != 3 {
		t.Error("not three nodes")
	}
	labels := deployment.Spec.Template.Labels
	for name, selector := range map[string]map[string]string{"deployment": deployment.Spec.Selector.MatchLabels, "service": service.Spec.Selector, "budget": budget.Spec.Selector.MatchLabels} {
		for key, value := range selector {
			if labels[key] != value {
				t.Errorf("the %s looks for %s=%s", name, key, value)
			}
		}
	}
	ports := make(map[string]int32)
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	for _, p := range service.Spec.Ports {
		if ports[p.TargetPort.StrVal] != p.Port {
			t.Errorf("port %s of the service", p.Name)
		}
	}
	for name, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "readiness": c.ReadinessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != "/msa/health" || ports[probe.HTTPGet.Port.StrVal] != 8080 {
			t.Errorf("%s: %+v", name, probe)
		}
	}
	if left := *pod.TerminationGracePeriodSeconds - 10 - int64(gracePeriod.Seconds()); left <= 0 || c.Lifecycle.PreStop.Exec.Command[1] != "10" {
		t.Errorf("%d s are left to end in", left)
	}
	volumes := make(map[string]bool)
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
		if v.ConfigMap != nil && v.ConfigMap.Name != config.Name {
			t.Errorf("nobody makes %s", v.ConfigMap.Name)
		}
	}
	for _, m := range c.VolumeMounts {
		if !volumes[m.Name] {
			t.Errorf("there is no volume %s", m.Name)
		}
	}
	// What the Caddyfile says of the machine, the manifest has.
	caddyfile := string(read(t, "../kubernetes/Caddyfile"))
	for _, text := range []string{"proxy_protocol", "spool postgres", "{env.MSA_NODE}", "/srv/tls/tls.crt", "/srv/msa/users.passwd", "{file./srv/msa/spool-password}", "http://:8080"} {
		if !strings.Contains(caddyfile, text) {
			t.Errorf("the Caddyfile does not have %s", text)
		}
	}
	if !slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "MSA_NODE" }) {
		t.Error("MSA_NODE is not set")
	}
}

// Compose takes its file, which leaves the server time to end in and keeps the spool.
func TestCompose(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{"../compose/compose.yaml"}, cli.WithName("msa"))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	msa := project.Services["msa"]
	if msa.StopGracePeriod == nil || time.Duration(*msa.StopGracePeriod) <= gracePeriod {
		t.Errorf("stop_grace_period is %v", msa.StopGracePeriod)
	}
	spool := false
	for _, v := range msa.Volumes {
		spool = spool || v.Target == "/data" && v.Type == "volume"
	}
	if !spool {
		t.Error("no volume for /data")
	}
}
