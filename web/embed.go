// Package web serves the web client: the page that "make web" builds from the sources beside this file, and the cookie that lets it go on
// after a reload.
package web

import "embed"

// dist is what was built. In a fresh clone it holds nothing but a file that keeps the folder.
//
//go:embed all:dist
var dist embed.FS
