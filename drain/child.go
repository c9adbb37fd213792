package drain

// child is a process that was started to be the next generation; see process.Child.
type child interface {
	Ready() <-chan struct{}
	Exited() <-chan struct{}
	Err() error
	Said() string
	Kill()
	Release() bool
}
