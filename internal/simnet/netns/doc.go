// Package netns makes network namespaces of the Linux kernel for tests: hosts of their own on one machine, with filters between them, and paths
// whose every packet goes through this process and may be late or lost.
//
// It needs root, the commands ip and nft (Debian: iproute2, nftables), and for NewPath /dev/net/tun; Missing tells what isn't there. A
// namespace is named after the process that made it, tt-PID-…, and goes with everything in it at Close; those of processes that were killed are
// removed by the next New.
package netns
