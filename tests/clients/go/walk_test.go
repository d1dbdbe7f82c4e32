// Package clients walks a running agent with the Go SDK of the API. The agent's address stands in
// NOMAD_ADDR; where access control is on, it was never bootstrapped.
package clients

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
)

// client speaks to the agent, as the holder of the first token where there are tokens.
func client(t *testing.T) *api.Client {
	t.Helper()
	c, err := api.NewClient(api.DefaultConfig())
	must(t, err)
	if os.Getenv("WITH_ACL") == "1" {
		if token == "" {
			made, _, err := c.ACLTokens().Bootstrap(nil)
			must(t, err)
			token = made.SecretID
		}
		c.SetSecretID(token)
	}
	return c
}

var token string

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for ; time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

func job(id string, count int) *api.Job {
	task := api.NewTask("t", "raw_exec").
		SetConfig("command", "/bin/sh").
		SetConfig("args", []string{"-c", "echo hello from $NOMAD_ALLOC_INDEX; exec sleep 60"}).
		Require(&api.Resources{CPU: ptr(20), MemoryMB: ptr(16)})
	task.KillTimeout = ptr(time.Second)
	group := api.NewTaskGroup("g", count).AddTask(task)
	group.Update = &api.UpdateStrategy{
		MinHealthyTime: ptr(10 * time.Millisecond), HealthyDeadline: ptr(10 * time.Second),
		ProgressDeadline: ptr(20 * time.Second), HealthCheck: ptr("task_states"),
	}
	group.Services = []*api.Service{{Name: id + "-svc", Provider: "nomad", Tags: []string{"a", "b"}}}
	return api.NewServiceJob(id, id, "global", 50).AddDatacenter("dc1").AddTaskGroup(group)
}

func ptr[T any](v T) *T { return &v }

func TestJobs(t *testing.T) {
	c := client(t)
	plan, _, err := c.Jobs().Plan(job("walk", 2), true, nil)
	must(t, err)
	if plan.Diff == nil || plan.Diff.Type != "Added" {
		t.Fatalf("plan: %+v", plan.Diff)
	}
	made, _, err := c.Jobs().Register(job("walk", 2), nil)
	must(t, err)
	until(t, "the evaluation", func() bool {
		e, _, err := c.Evaluations().Info(made.EvalID, nil)
		return err == nil && e.Status == "complete"
	})
	var allocs []*api.AllocationListStub
	until(t, "two running allocations", func() bool {
		allocs, _, err = c.Jobs().Allocations("walk", false, nil)
		must(t, err)
		running := 0
		for _, a := range allocs {
			if a.ClientStatus == "running" {
				running++
			}
		}
		return running == 2
	})
	until(t, "the deployment", func() bool {
		d, _, err := c.Jobs().LatestDeployment("walk", nil)
		return err == nil && d != nil && d.Status == "successful"
	})
	alloc, _, err := c.Allocations().Info(allocs[0].ID, nil)
	must(t, err)
	until(t, "the log", func() bool {
		cancel := make(chan struct{})
		defer close(cancel)
		frames, errs := c.AllocFS().Logs(alloc, false, "t", "stdout", "start", 0, cancel, nil)
		select {
		case f := <-frames:
			return f != nil && strings.HasPrefix(string(f.Data), "hello from")
		case <-errs:
			return false
		}
	})
	files, _, err := c.AllocFS().List(alloc, "/alloc/logs", nil)
	must(t, err)
	if len(files) < 2 {
		t.Fatalf("files: %v", files)
	}
	services, _, err := c.Services().Get("walk-svc", nil)
	must(t, err)
	if len(services) != 2 || len(services[0].Tags) != 2 {
		t.Fatalf("services: %+v", services)
	}
	_, _, err = c.Jobs().Scale("walk", "g", ptr(1), "less", false, nil, nil)
	must(t, err)
	until(t, "one running allocation", func() bool {
		summary, _, err := c.Jobs().Summary("walk", nil)
		return err == nil && summary.Summary["g"].Running == 1
	})
	versions, _, _, err := c.Jobs().Versions("walk", false, nil)
	must(t, err)
	if len(versions) != 2 {
		t.Fatalf("%d versions", len(versions))
	}
	found, _, err := c.Search().PrefixSearch("wal", "jobs", nil)
	must(t, err)
	if got := found.Matches["jobs"]; len(got) != 1 || got[0] != "walk" {
		t.Fatalf("search: %v", got)
	}
	_, _, err = c.Jobs().Deregister("walk", true, nil)
	must(t, err)
	until(t, "the end", func() bool {
		_, _, err := c.Jobs().Info("walk", nil)
		return err != nil && strings.Contains(err.Error(), "404")
	})
}

func TestBlockingAndEvents(t *testing.T) {
	c := client(t)
	_, meta, err := c.Jobs().List(nil)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	topics := map[api.Topic][]string{api.TopicJob: {"waits"}}
	events, err := c.EventStream().Stream(ctx, topics, 0, nil)
	must(t, err)
	woken := make(chan uint64, 1)
	go func() {
		wait := &api.QueryOptions{WaitIndex: meta.LastIndex, WaitTime: 20 * time.Second}
		_, meta, err := c.Jobs().List(wait)
		if err == nil {
			woken <- meta.LastIndex
		}
	}()
	time.Sleep(100 * time.Millisecond)
	waits := job("waits", 0)
	_, _, err = c.Jobs().Register(waits, nil)
	must(t, err)
	select {
	case index := <-woken:
		if index <= meta.LastIndex {
			t.Fatalf("index %d after %d", index, meta.LastIndex)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the blocking query was not answered")
	}
	for {
		select {
		case batch := <-events:
			must(t, batch.Err)
			for _, e := range batch.Events {
				j, err := e.Job()
				must(t, err)
				if e.Type == "JobRegistered" && *j.ID == "waits" {
					_, _, err = c.Jobs().Deregister("waits", true, nil)
					must(t, err)
					return
				}
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no event came")
		}
	}
}

func TestVariables(t *testing.T) {
	c := client(t)
	v := api.NewVariable("walk/one")
	v.Items["k"] = "v"
	made, _, err := c.Variables().Create(v, nil)
	must(t, err)
	read, _, err := c.Variables().Read("walk/one", nil)
	must(t, err)
	if read.Items["k"] != "v" || read.ModifyIndex != made.ModifyIndex {
		t.Fatalf("%+v", read)
	}
	stale := api.NewVariable("walk/one")
	stale.ModifyIndex = made.ModifyIndex - 1
	stale.Items["k"] = "w"
	if _, _, err = c.Variables().CheckedUpdate(stale, nil); err == nil {
		t.Fatal("a stale update was taken")
	}
	lock := api.NewVariable("walk/lock")
	lock.Lock = &api.VariableLock{TTL: "15s", LockDelay: "1s"}
	held, _, err := c.Variables().AcquireLock(lock, nil)
	must(t, err)
	if _, _, err = c.Variables().AcquireLock(lock, nil); err == nil {
		t.Fatal("a lock was given twice")
	}
	_, _, err = c.Variables().RenewLock(held, nil)
	must(t, err)
	_, _, err = c.Variables().ReleaseLock(held, nil)
	must(t, err)
	list, _, err := c.Variables().PrefixList("walk/", nil)
	must(t, err)
	if len(list) != 2 {
		t.Fatalf("%d variables", len(list))
	}
}

func TestOperator(t *testing.T) {
	c := client(t)
	nodes, _, err := c.Nodes().List(nil)
	must(t, err)
	if len(nodes) != 1 || nodes[0].Status != "ready" {
		t.Fatalf("%+v", nodes)
	}
	_, err = c.Nodes().ToggleEligibility(nodes[0].ID, false, nil)
	must(t, err)
	_, err = c.Nodes().ToggleEligibility(nodes[0].ID, true, nil)
	must(t, err)
	raft, err := c.Operator().RaftGetConfiguration(nil)
	must(t, err)
	if len(raft.Servers) != 1 || !raft.Servers[0].Leader {
		t.Fatalf("%+v", raft)
	}
	health, _, err := c.Operator().AutopilotServerHealth(nil)
	must(t, err)
	if !health.Healthy {
		t.Fatalf("%+v", health)
	}
	_, _, err = c.Operator().SchedulerGetConfiguration(nil)
	must(t, err)
	snapshot, err := c.Operator().Snapshot(nil)
	must(t, err)
	defer snapshot.Close()
	bytes, err := io.ReadAll(snapshot)
	must(t, err)
	if len(bytes) < 100 {
		t.Fatalf("a snapshot of %d bytes", len(bytes))
	}
	_, err = c.Namespaces().Register(&api.Namespace{Name: "walk"}, nil)
	must(t, err)
	_, err = c.Namespaces().Delete("walk", nil)
	must(t, err)
	metrics, err := c.Operator().Metrics(nil)
	must(t, err)
	if !strings.Contains(string(metrics), "Gauges") {
		t.Fatalf("metrics: %s", metrics)
	}
	must(t, c.System().GarbageCollect())
	self, err := c.Agent().Self()
	must(t, err)
	if self.Member.Name == "" {
		t.Fatalf("%+v", self)
	}
}

func TestAccessControl(t *testing.T) {
	c := client(t)
	if os.Getenv("WITH_ACL") != "1" {
		_, _, err := c.ACLTokens().List(nil)
		if err == nil || !strings.Contains(err.Error(), "ACL support disabled") {
			t.Fatalf("%v", err)
		}
		return
	}
	rules := `namespace "default" { policy = "read" }`
	_, err := c.ACLPolicies().Upsert(&api.ACLPolicy{Name: "reader", Rules: rules}, nil)
	must(t, err)
	made, _, err := c.ACLTokens().Create(&api.ACLToken{
		Name: "r", Type: "client", Policies: []string{"reader"},
	}, nil)
	must(t, err)
	made.Name = "renamed"
	_, _, err = c.ACLTokens().Update(made, nil)
	must(t, err)
	reader, err := api.NewClient(api.DefaultConfig())
	must(t, err)
	reader.SetSecretID(made.SecretID)
	_, _, err = reader.Jobs().List(nil)
	must(t, err)
	_, _, err = reader.Jobs().Register(job("refused", 1), nil)
	if err == nil || !strings.Contains(err.Error(), "403") {
		t.Fatalf("%v", err)
	}
	self, _, err := reader.ACLTokens().Self(nil)
	must(t, err)
	if self.Name != "renamed" {
		t.Fatalf("%+v", self)
	}
	_, err = c.ACLTokens().Delete(made.AccessorID, nil)
	must(t, err)
	if _, _, err = reader.Jobs().List(nil); err == nil {
		t.Fatal("a deleted token still reads")
	}
}
