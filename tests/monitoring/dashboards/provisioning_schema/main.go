// Checks alerting provisioning files against the types that Grafana publishes for its API:
// no unknown field, no value outside an enumeration. Reads JSON files, says what is wrong.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/go-openapi/strfmt"
	"github.com/grafana/grafana-openapi-client-go/models"
)

func main() {
	failed := false
	for _, path := range os.Args[1:] {
		if err := check(path); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", path, err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
	fmt.Printf("%d files are as Grafana has them\n", len(os.Args)-1)
}

func check(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	var file models.AlertingFileExport
	if err := decoder.Decode(&file); err != nil {
		return err
	}
	return file.Validate(strfmt.Default)
}
