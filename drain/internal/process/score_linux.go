package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Where memory runs out, the kernel kills the process with the highest score: its size, and what is in oom_score_adj. A
// candidate has the most there until it is promoted: its end costs no request, that of the old generation costs them
// all. Everybody may raise the score of a process of the same user, and put it back as long as no privileged process
// has raised it.
const mostExpendable = "1000"

// score is what stands in oom_score_adj of a process. The file is kept open: one that becomes another user may write
// to its own no more.
type score struct {
	file *os.File // nil: the kernel tells of none, or this user may not write there
	was  string   // what is put back; "" if that is not known
}

// openScore returns the score of a process, or "self", which is to be that of this process again.
func openScore(pid string) *score {
	file, err := os.OpenFile("/proc/"+pid+"/oom_score_adj", os.O_WRONLY, 0)
	if err != nil {
		return new(score)
	}
	return &score{file, Score()}
}

func (s *score) write(text string) error {
	if s.file == nil || text == "" {
		return nil
	}
	_, err := s.file.WriteAt([]byte(text), 0)
	return err
}

func (s *score) raise() { _ = s.write(mostExpendable) }

// putBack ends the use of s.
func (s *score) putBack() error {
	err := s.write(s.was)
	if s.file != nil {
		_, s.file = s.file.Close(), nil
	}
	if err != nil {
		return fmt.Errorf("can't set oom_score_adj back to %s: %w", s.was, err)
	}
	return nil
}

// Score is what stands in oom_score_adj of this process, "" if that is not known.
func Score() string {
	text, _ := os.ReadFile("/proc/self/oom_score_adj")
	return strings.TrimSpace(string(text))
}

// Promoted ends that the kernel would kill this process first. Was is the score of the generation that has started it,
// "" where that one has not said: then it is what this process had at its start.
func Promoted(was string) error {
	if _, err := strconv.Atoi(was); err == nil {
		inherited.score.was = was
	}
	return inherited.score.putBack()
}

// oomKills is how many processes the kernel of this machine has killed for want of memory; "" if that is not known.
func oomKills() string {
	text, _ := os.ReadFile("/proc/vmstat")
	_, after, _ := strings.Cut(string(text), "\noom_kill ")
	kills, _, _ := strings.Cut(after, "\n")
	return kills
}
