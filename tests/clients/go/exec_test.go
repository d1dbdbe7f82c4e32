package clients

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
)

// running registers a job and waits for its allocation.
func running(t *testing.T, c *api.Client, j *api.Job) *api.Allocation {
	t.Helper()
	_, _, err := c.Jobs().Register(j, nil)
	must(t, err)
	var found *api.AllocationListStub
	until(t, "a running allocation", func() bool {
		list, _, err := c.Jobs().Allocations(*j.ID, false, nil)
		must(t, err)
		for _, a := range list {
			if a.ClientStatus == "running" {
				found = a
			}
		}
		return found != nil
	})
	alloc, _, err := c.Allocations().Info(found.ID, nil)
	must(t, err)
	return alloc
}

func TestExec(t *testing.T) {
	c := client(t)
	j := job("execs", 1)
	j.TaskGroups[0].Tasks[0].Actions = []*api.Action{
		{Name: "greet", Command: "/bin/sh", Args: []string{"-c", "echo greetings; exit 6"}},
	}
	alloc := running(t, c, j)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	sizes := make(chan api.TerminalSize, 1)

	var out, errs bytes.Buffer
	code, err := c.Allocations().Exec(ctx, alloc, "t", false,
		[]string{"/bin/sh", "-c", "cat; echo problem >&2; exit 3"},
		strings.NewReader("typed"), &out, &errs, sizes, nil)
	must(t, err)
	if code != 3 || out.String() != "typed" || errs.String() != "problem\n" {
		t.Fatalf("%d %q %q", code, out.String(), errs.String())
	}

	// Much of it, through a caller that is slower than its command.
	out.Reset()
	large := strings.Repeat("0123456789abcdef", 1<<16)
	code, err = c.Allocations().Exec(ctx, alloc, "t", false, []string{"/bin/cat"},
		strings.NewReader(large), &out, &errs, sizes, nil)
	must(t, err)
	if code != 0 || out.String() != large {
		t.Fatalf("%d, %d bytes", code, out.Len())
	}

	out.Reset()
	sizes <- api.TerminalSize{Height: 33, Width: 77}
	keys, typist := io.Pipe()
	go func() {
		time.Sleep(200 * time.Millisecond)
		typist.Write([]byte("go\r"))
	}()
	code, err = c.Allocations().Exec(ctx, alloc, "t", true,
		[]string{"/bin/sh", "-c", "read x; stty size"}, keys, &out, &errs, sizes, nil)
	must(t, err)
	if code != 0 || !strings.Contains(out.String(), "33 77") {
		t.Fatalf("%d %q", code, out.String())
	}

	out.Reset()
	code, err = c.Jobs().ActionExec(ctx, alloc, *j.ID, "t", false, nil, "greet",
		strings.NewReader(""), &out, &errs, sizes, nil)
	must(t, err)
	if code != 6 || out.String() != "greetings\n" {
		t.Fatalf("%d %q", code, out.String())
	}

	_, err = c.Allocations().Exec(ctx, alloc, "nope", false, []string{"/bin/true"},
		strings.NewReader(""), &out, &errs, sizes, nil)
	if err == nil || !strings.Contains(err.Error(), "task not found") {
		t.Fatalf("%v", err)
	}
	_, _, err = c.Jobs().Deregister(*j.ID, true, nil)
	must(t, err)
}
