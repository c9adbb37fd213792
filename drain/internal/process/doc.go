// Package process starts the next generation as this process was started, passes sockets on, and
// takes over what another process has passed to this one.
//
// Between the two processes it speaks the protocol of tableflip v1.2.3. Either of them may be an older
// version of this library, or a program that uses tableflip alone:
//
//   - TABLEFLIP_HAS_PARENT_7DIU3 in the environment says that there is a parent;
//   - descriptor 3 is a pipe on which the child writes one byte, 42, when it is ready;
//   - descriptor 4 is a pipe with the names of what follows, a gob of [][]string, each {kind, network, address}; the
//     parent holds it open until it exits;
//   - the descriptors from 5 on are what the names say, in their order.
package process
