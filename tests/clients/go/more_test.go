package clients

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
)

// steady is a job of one task that does nothing for long.
func steady(id string) *api.Job {
	j := job(id, 1)
	j.TaskGroups[0].Services = nil
	return j
}

func purge(t *testing.T, c *api.Client, id string) {
	t.Helper()
	_, _, err := c.Jobs().Deregister(id, true, nil)
	must(t, err)
}

func TestDispatch(t *testing.T) {
	c := client(t)
	j := job("sends", 1)
	j.Type = ptr("batch")
	j.ParameterizedJob = &api.ParameterizedJobConfig{Payload: "required", MetaRequired: []string{"k"}}
	group := j.TaskGroups[0]
	group.Update, group.Services = nil, nil
	group.Tasks[0].DispatchPayload = &api.DispatchPayloadConfig{File: "payload"}
	group.Tasks[0].Config["args"] = []string{"-c", "cat local/payload; echo $NOMAD_META_k"}
	_, _, err := c.Jobs().Register(j, nil)
	must(t, err)
	sent, _, err := c.Jobs().Dispatch("sends", map[string]string{"k": "v"}, []byte("load "), "", nil)
	must(t, err)
	var alloc *api.Allocation
	until(t, "the child", func() bool {
		list, _, err := c.Jobs().Allocations(sent.DispatchedJobID, false, nil)
		must(t, err)
		if len(list) != 1 || list[0].ClientStatus != "complete" {
			return false
		}
		alloc, _, err = c.Allocations().Info(list[0].ID, nil)
		must(t, err)
		return true
	})
	file, err := c.AllocFS().Cat(alloc, "alloc/logs/t.stdout.0", nil)
	must(t, err)
	text, err := io.ReadAll(file)
	must(t, err)
	if string(text) != "load v\n" {
		t.Fatalf("%q", text)
	}
	stat, _, err := c.AllocFS().Stat(alloc, "alloc/logs/t.stdout.0", nil)
	must(t, err)
	if stat.Size != int64(len(text)) || stat.IsDir {
		t.Fatalf("%+v", stat)
	}
	part, err := c.AllocFS().ReadAt(alloc, "alloc/logs/t.stdout.0", 5, 1, nil)
	must(t, err)
	if text, err = io.ReadAll(part); err != nil || string(text) != "v" {
		t.Fatalf("%q %v", text, err)
	}
	purge(t, c, "sends")
}

func TestStopWithoutPurge(t *testing.T) {
	c := client(t)
	running(t, c, steady("stays"))
	_, _, err := c.Jobs().Deregister("stays", false, nil)
	must(t, err)
	until(t, "the dead job", func() bool {
		j, _, err := c.Jobs().Info("stays", nil)
		must(t, err)
		return *j.Stop && *j.Status == "dead"
	})
	purge(t, c, "stays")
}

func TestDeployments(t *testing.T) {
	c := client(t)
	running(t, c, steady("canary"))
	until(t, "the first deployment", func() bool {
		d, _, err := c.Jobs().LatestDeployment("canary", nil)
		return err == nil && d != nil && d.Status == "successful"
	})
	for _, end := range []string{"promote", "fail"} {
		next := steady("canary")
		next.TaskGroups[0].Update.Canary = ptr(1)
		next.TaskGroups[0].Tasks[0].Env = map[string]string{"WHY": end}
		_, _, err := c.Jobs().Register(next, nil)
		must(t, err)
		var d *api.Deployment
		until(t, "a healthy canary", func() bool {
			d, _, err = c.Jobs().LatestDeployment("canary", nil)
			must(t, err)
			return d.Status == "running" && d.TaskGroups["g"].HealthyAllocs == 1
		})
		_, _, err = c.Deployments().Pause(d.ID, true, nil)
		must(t, err)
		_, _, err = c.Deployments().Pause(d.ID, false, nil)
		must(t, err)
		want := "successful"
		if end == "promote" {
			_, _, err = c.Deployments().PromoteAll(d.ID, nil)
		} else {
			want = "failed"
			_, _, err = c.Deployments().Fail(d.ID, nil)
		}
		must(t, err)
		until(t, want, func() bool {
			d, _, err := c.Deployments().Info(d.ID, nil)
			return err == nil && d.Status == want
		})
	}
	purge(t, c, "canary")
}

func TestNodesAndPools(t *testing.T) {
	c := client(t)
	_, err := c.NodePools().Register(&api.NodePool{Name: "walk", Description: "d"}, nil)
	must(t, err)
	pool, _, err := c.NodePools().Info("walk", nil)
	must(t, err)
	if pool.Description != "d" {
		t.Fatalf("%+v", pool)
	}
	_, err = c.NodePools().Delete("walk", nil)
	must(t, err)
	nodes, _, err := c.Nodes().List(nil)
	must(t, err)
	id := nodes[0].ID
	running(t, c, steady("drained"))
	_, err = c.Nodes().UpdateDrain(id, &api.DrainSpec{Deadline: -time.Second}, false, nil)
	must(t, err)
	until(t, "the end of the drain", func() bool {
		n, _, err := c.Nodes().Info(id, nil)
		must(t, err)
		return !n.Drain && n.LastDrain != nil && n.LastDrain.Status == "complete"
	})
	_, err = c.Nodes().ToggleEligibility(id, true, nil)
	must(t, err)
	purge(t, c, "drained")
}

func TestHostVolumes(t *testing.T) {
	c := client(t)
	made, _, err := c.HostVolumes().Create(&api.HostVolumeCreateRequest{
		Volume: &api.HostVolume{Name: "data", PluginID: "mkdir"},
	}, nil)
	must(t, err)
	id := made.Volume.ID
	until(t, "a ready volume", func() bool {
		v, _, err := c.HostVolumes().Get(id, nil)
		must(t, err)
		return v.State == api.HostVolumeStateReady
	})
	j := steady("keeps")
	j.TaskGroups[0].Volumes = map[string]*api.VolumeRequest{
		"v": {Name: "v", Type: "host", Source: "data", Sticky: true},
	}
	j.TaskGroups[0].Tasks[0].VolumeMounts = []*api.VolumeMount{
		{Volume: ptr("v"), Destination: ptr("/data")},
	}
	running(t, c, j)
	list, _, err := c.HostVolumes().List(&api.HostVolumeListRequest{}, nil)
	must(t, err)
	claims, _, err := c.TaskGroupHostVolumeClaims().List(nil, nil)
	must(t, err)
	if len(list) != 1 || len(claims) != 1 || claims[0].VolumeID != id {
		t.Fatalf("%+v %+v", list, claims)
	}
	purge(t, c, "keeps")
	until(t, "the end of the volume", func() bool {
		_, _, err := c.HostVolumes().Delete(&api.HostVolumeDeleteRequest{ID: id}, nil)
		return err == nil
	})
}

func TestLockDelay(t *testing.T) {
	c := client(t)
	v := api.NewVariable("delay/one")
	v.Lock = &api.VariableLock{TTL: "10s", LockDelay: "1s"}
	held, _, err := c.Variables().AcquireLock(v, nil)
	must(t, err)
	if held.Lock == nil || held.Lock.TTL != "10s" || held.Lock.LockDelay != "1s" {
		t.Fatalf("%+v", held.Lock)
	}
	_, _, err = c.Variables().ReleaseLock(held, nil)
	must(t, err)
	again := api.NewVariable("delay/one")
	again.Lock = &api.VariableLock{TTL: "10s", LockDelay: "1s"}
	_, _, err = c.Variables().AcquireLock(again, nil)
	must(t, err)
	// Nobody renews it: it ends after its time and its delay, and not before.
	begin := time.Now()
	last := api.NewVariable("delay/one")
	last.Lock = &api.VariableLock{TTL: "10s", LockDelay: "1s"}
	for {
		if _, _, err = c.Variables().AcquireLock(last, nil); err == nil {
			break
		}
		if time.Since(begin) > 40*time.Second {
			t.Fatalf("the lock stays: %v", err)
		}
		time.Sleep(250 * time.Millisecond)
	}
	if time.Since(begin) < 9*time.Second {
		t.Fatalf("the lock ended after %v", time.Since(begin))
	}
}

func TestRoles(t *testing.T) {
	c := client(t)
	if os.Getenv("WITH_ACL") != "1" {
		return
	}
	rules := `namespace "default" { policy = "read" }`
	_, err := c.ACLPolicies().Upsert(&api.ACLPolicy{Name: "of-role", Rules: rules}, nil)
	must(t, err)
	role, _, err := c.ACLRoles().Create(&api.ACLRole{
		Name: "walks", Policies: []*api.ACLRolePolicyLink{{Name: "of-role"}},
	}, nil)
	must(t, err)
	made, _, err := c.ACLTokens().Create(&api.ACLToken{
		Name: "r", Type: "client", Roles: []*api.ACLTokenRoleLink{{ID: role.ID}},
	}, nil)
	must(t, err)
	reader, err := api.NewClient(api.DefaultConfig())
	must(t, err)
	reader.SetSecretID(made.SecretID)
	_, _, err = reader.Jobs().List(nil)
	must(t, err)
	_, err = c.ACLRoles().Delete(role.ID, nil)
	must(t, err)
	if _, _, err = reader.Jobs().List(nil); err == nil || !strings.Contains(err.Error(), "403") {
		t.Fatalf("a token of a deleted role still reads: %v", err)
	}
}

// What was written after the snapshot is gone.
func TestSnapshotRestore(t *testing.T) {
	c := client(t)
	kept := api.NewVariable("kept/one")
	kept.Items["k"] = "v"
	_, _, err := c.Variables().Create(kept, nil)
	must(t, err)
	saved, err := c.Operator().Snapshot(nil)
	must(t, err)
	archive, err := io.ReadAll(saved)
	must(t, err)
	later := api.NewVariable("kept/later")
	later.Items["k"] = "v"
	_, _, err = c.Variables().Create(later, nil)
	must(t, err)
	_, err = c.Operator().SnapshotRestore(bytes.NewReader(archive), nil)
	must(t, err)
	until(t, "the state of the snapshot", func() bool {
		_, _, lost := c.Variables().Read("kept/later", nil)
		there, _, err := c.Variables().Read("kept/one", nil)
		return lost != nil && err == nil && there.Items["k"] == "v"
	})
	if path := os.Getenv("TOKEN_FILE"); path != "" {
		must(t, os.WriteFile(path, []byte(token), 0o600))
	}
}
