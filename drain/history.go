package drain

import "time"

// historyPart lets the next generation tell of the swap by which it has come. The result is that of Status.LastSwap.
func historyPart(result **SwapResult, generation int) part {
	const name = "last_swap"
	return part{
		release: func(m *message) {
			_ = m.give(name, SwapResult{At: time.Now().Round(0), Generation: generation + 1}) // nobody needs it
		},
		inherit: func(m message) {
			var came SwapResult
			if m.take(name, &came) {
				*result = &came
			}
		},
	}
}
