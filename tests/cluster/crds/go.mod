// Pins the modules whose CRDs the tests install. Nothing here is compiled: the
// YAML is read from the module cache, never copied into this repository.
// (Not for `go mod tidy`, which would drop what no Go file imports.)
module noria.dev/tests/crds

go 1.26

require (
	github.com/kubeflow/trainer/v2 v2.0.0
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.5.1
)
