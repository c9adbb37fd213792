//go:build linux

package ansible

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baton-go/baton/examples/internal/flow"
)

// TestClockSetBack: the last release is the last one, also where the clock says that it has begun before another. Were
// it not, a rollback of what has come to the first node only would take the others further back. The role's own task is
// run, for nodes that have told what they have.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	playbook := flow.Tool(t, "ansible-playbook", "apt-get install ansible-core")
	text, err := os.ReadFile("roles/app/tasks/begin.yml")
	if err != nil {
		t.Fatal(err)
	}
	_, task, _ := strings.Cut(string(text), "- name: What is known of all nodes\n")
	task, _, _ = strings.Cut(task, "\n- name: ")
	task = "    - name: What is known\n    " + strings.ReplaceAll(task, "\n", "\n    ") + "\n"
	dir := flow.Dir(t)
	again := `
    - ansible.builtin.set_fact:
        was: "{{ run_id }}"
        node: {id: "{{ run_id if inventory_hostname == 'a' else earlier }}"}
`
	tell := `
    - ansible.builtin.debug:
        msg: "{{ 'goes on' if [run_last, run_id] == [was, was] else run_id ~ ' after ' ~ run_last }}"
`
	// Then the same once more, as after an interruption: it goes on with that.
	var plays string
	earliers := []string{
		"", "2026-11-29T12:00:00Z-1:2-kept-root@x", "2026-11-29T12:00:00Zzz-1:2-kept-root@x",
		"2026-11-29T11:00:00Zzz-1:2-kept-root@x",
	}
	for _, earlier := range earliers {
		plays += `
- hosts: all
  gather_facts: false
  vars: {do: release, earlier: "` + earlier + `"}
  tasks:
    - ansible.builtin.set_fact: {node: {id: "{{ earlier if inventory_hostname == 'b' else '' }}"}}
` + task + again + task + tell
	}
	flow.WriteFile(t, dir, "play.yml", plays)
	cmd := exec.Command(playbook, "-i", "a,b,", "-e",
		`{"run": {"now": "2026-11-29T11:55:00Z", "who": "root@y", "sum": "3:4", "set": "kept"}}`,
		filepath.Join(dir, "play.yml"))
	cmd.Dir = dir
	said, code := flow.Run(t, cmd)
	if code != 0 || strings.Count(said, `"goes on"`) != 2*len(earliers) {
		t.Errorf("exit code %d, want each of both nodes to go on, after each of %q\n%s", code, earliers, said)
	}
}
