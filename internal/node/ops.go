package node

import (
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/internal/admin"
	"teamtalk/internal/obs"
)

// opsHandler is everything on the ops listener. What tells secrets or changes anything needs the token.
func opsHandler(health *obs.Health, registry *prometheus.Registry, token string, api http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", health.ServeLive)
	mux.HandleFunc("GET /readyz", health.ServeReady)
	mux.Handle("GET /metrics", obs.MetricsHandler(registry))
	mux.Handle("/api/v1/", admin.RequireToken(token, api))
	profiles := http.NewServeMux()
	profiles.HandleFunc("/debug/pprof/", pprof.Index)
	profiles.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	profiles.HandleFunc("/debug/pprof/profile", pprof.Profile)
	profiles.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	profiles.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.Handle("/debug/pprof/", admin.RequireToken(token, profiles))
	return mux
}

// opsServer has no limit on the time of a request: imports and profiles take long.
func opsServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: headerBytes}
}
