// Package prometheus finds services of a running agent as Prometheus does.
package prometheus

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/nomad"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

// A service with a port and a tag, of a job that runs for a while.
const job = `{"Job": {"ID": "scraped", "Type": "service", "Datacenters": ["dc1"], "TaskGroups": [{
  "Name": "g", "Networks": [{"DynamicPorts": [{"Label": "http"}]}],
  "Services": [{"Name": "scraped", "Provider": "nomad", "PortLabel": "http", "Tags": ["metrics"]}],
  "Tasks": [{"Name": "t", "Driver": "raw_exec",
    "Config": {"command": "/bin/sleep", "args": ["60"]},
    "Resources": {"CPU": 20, "MemoryMB": 16}}]}]}}`

func send(t *testing.T, method, path, body string) {
	t.Helper()
	req, err := http.NewRequest(method, os.Getenv("NOMAD_ADDR")+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %v %v", method, path, answer, err)
	}
	answer.Body.Close()
}

func TestServicesAreFound(t *testing.T) {
	send(t, http.MethodPut, "/v1/jobs", job)
	defer send(t, http.MethodDelete, "/v1/job/scraped?purge=true", "")
	config := nomad.DefaultSDConfig
	config.Server = os.Getenv("NOMAD_ADDR")
	config.RefreshInterval = model.Duration(200 * time.Millisecond)
	registry := prometheus.NewRegistry()
	refresh := discovery.NewRefreshMetrics(registry)
	metrics := config.NewDiscovererMetrics(registry, refresh)
	if err := metrics.Register(); err != nil {
		t.Fatal(err)
	}
	d, err := config.NewDiscoverer(discovery.DiscovererOptions{
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: metrics,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	found := make(chan []*targetgroup.Group)
	go d.Run(ctx, found)
	for {
		select {
		case groups := <-found:
			for _, group := range groups {
				for _, target := range group.Targets {
					service, tags := target["__meta_nomad_service"], target["__meta_nomad_tags"]
					port := target["__meta_nomad_service_port"]
					if service == "scraped" && tags == ",metrics," && port != "" {
						return
					}
				}
			}
		case <-ctx.Done():
			t.Fatal("the service was not found")
		}
	}
}
