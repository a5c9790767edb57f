// Package simdisk is a disk for tests that loses power: a file system, mounted by FUSE, that knows what was synced.
//
// What is written stays apart until it is synced. Cut takes the power away: from that instant every operation fails with EIO, and when PowerOn
// mounts the disk again, only what survived is there. What survives of what was not synced is up to the caller: nothing, or whatever a random
// number says.
//
// It models, per file, writes and changes of the size: made durable by fsync or fdatasync of that file and by nothing else. Without, each page of
// 4 KiB survives as it was synced or as any write since left it, some torn between sectors of 512 bytes, in any order; and the size is any that the
// file had. It models, per directory, creating, renaming and removing: made durable by fsync of that directory and by nothing else (file systems
// with a journal promise more). Without, the first so many of a directory's changes survive. A file that no directory knows of is gone.
//
// It does not model: modes and times (they survive), links, renaming from one directory to another (EXDEV), write barriers of the drive, and
// pages written by way of a shared writable mapping before the kernel hands them over.
//
// It needs Linux, root and /dev/fuse. Everything is in memory. The process that serves a disk must not read its files through mappings, nor start
// commands in its directories: both can wait for the disk where the Go runtime, and with it the disk, waits for them.
package simdisk
