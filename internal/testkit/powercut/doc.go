// Package powercut rebuilds what a disk may hold after the power went out at
// any moment of a program's run, from a record of the program's system calls.
//
// A [Record] is what strace wrote about one process: see [Command] for how it
// must be run. [NewModel] turns it into the operations on the files below one
// directory, each with the moment from which it is certain to be on the disk:
// the end of the first successful fsync or fdatasync of that file that began
// after the operation had ended; for a name (create, rename, link, unlink) that
// of its directory. Everything else may be there or not. [Model.Images] draws
// crash images between the syncs: what is not certain dropped, reordered, or
// torn at 512 or 4,096 octets.
//
// The model is stricter than any real file system: it owes nothing to a file's
// order of writes, to the journal of a file system or to a device's sectors
// beyond what fsync promises (POSIX). Its one invariant: whatever an image lacks,
// no completed sync covered.
//
// A record that the model cannot follow (truncated data, a shared writable
// mapping, a call that moves data past write) is refused: half a record would
// prove nothing.
package powercut
