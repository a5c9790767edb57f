package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// value reads and writes one field of a Config as text.
type value struct {
	form string // how the text looks, for the documentation
	set  func(*Config, string) error
	show func(*Config) string
}

type unit struct {
	name string
	size ByteSize
}

var byteUnits = [...]unit{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

var (
	wordPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	hostPattern = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)
)

func text(form string, at func(*Config) *string) value {
	return value{
		form: form,
		set: func(c *Config, s string) error {
			if strings.ContainsAny(s, "\x00\n") {
				return errors.New("must be on one line")
			}
			*at(c) = s
			return nil
		},
		show: func(c *Config) string { return *at(c) },
	}
}

func word(at func(*Config) *string) value {
	v := text("a word", at)
	v.set = func(c *Config, s string) error {
		if !wordPattern.MatchString(s) {
			return fmt.Errorf("%q is not a word: use up to 63 letters, digits, dots, dashes and underscores", s)
		}
		*at(c) = s
		return nil
	}
	return v
}

func host(at func(*Config) *string) value {
	v := text("a host name or IP address", at)
	v.set = func(c *Config, s string) error {
		ip, err := netip.ParseAddr(s)
		switch {
		case s == "":
		case err == nil && ip.IsUnspecified():
			return fmt.Errorf("%s is no address to connect to: give the name or address that clients reach this server at", s)
		case err != nil && strings.Contains(s, ":"):
			return fmt.Errorf("%q is not a host: give a name or an address without a port (ports are public.tcp_port and public.http_port)", s)
		case err != nil && !hostPattern.MatchString(s):
			return fmt.Errorf("%q is not a host: give a name such as chat.example.com or an address such as 192.0.2.7", s)
		}
		*at(c) = s
		return nil
	}
	return v
}

func address(at func(*Config) *Address) value {
	return value{
		form: "`host:port`, `:port` or `off`",
		set: func(c *Config, s string) error {
			if s == "off" {
				*at(c) = ""
				return nil
			}
			h, p, err := net.SplitHostPort(s)
			if err != nil {
				return fmt.Errorf("%q is not an address: write host:port, :port for every address of this machine, or off", s)
			}
			if n, err := strconv.ParseUint(p, 10, 16); err != nil || strconv.FormatUint(n, 10) != p {
				return fmt.Errorf("%q: %q is not a port: use a number up to 65535, 0 for any free one", s, p)
			}
			if _, err := netip.ParseAddr(h); h != "" && err != nil && !hostPattern.MatchString(h) {
				return fmt.Errorf("%q: %q is neither a host name nor an IP address", s, h)
			}
			*at(c) = Address(s)
			return nil
		},
		show: func(c *Config) string { return at(c).String() },
	}
}

func integer[T int | uint16](least, most int64, at func(*Config) *T) value {
	return value{
		form: fmt.Sprintf("a whole number from %d to %d", least, most),
		set: func(c *Config, s string) error {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil || n < least || n > most {
				return fmt.Errorf("%q is not a whole number from %d to %d", s, least, most)
			}
			*at(c) = T(n)
			return nil
		},
		show: func(c *Config) string { return strconv.FormatInt(int64(*at(c)), 10) },
	}
}

func number(least, most float64, at func(*Config) *float64) value {
	return value{
		form: fmt.Sprintf("a number from %g to %.0f", least, most),
		set: func(c *Config, s string) error {
			n, err := strconv.ParseFloat(s, 64)
			if err != nil || !(n >= least && n <= most) {
				return fmt.Errorf("%q is not a number from %g to %.0f", s, least, most)
			}
			*at(c) = n
			return nil
		},
		show: func(c *Config) string { return strconv.FormatFloat(*at(c), 'f', -1, 64) },
	}
}

func duration(at func(*Config) *time.Duration) value {
	return value{
		form: "a duration such as `30s` or `2m`",
		set: func(c *Config, s string) error {
			d, err := time.ParseDuration(s)
			if err != nil || d <= 0 || d > 24*time.Hour {
				return fmt.Errorf("%q is not a duration: write a number and a unit, such as 500ms, 30s or 2m, at most 24h", s)
			}
			*at(c) = d
			return nil
		},
		show: func(c *Config) string { return shortDuration(*at(c)) },
	}
}

// durationOrOff is a duration that may be off, which is 0.
func durationOrOff(at func(*Config) *time.Duration) value {
	v := duration(at)
	return value{
		form: v.form + ", or `off`",
		set: func(c *Config, s string) error {
			if s == "off" {
				*at(c) = 0
				return nil
			}
			return v.set(c, s)
		},
		show: func(c *Config) string {
			if *at(c) == 0 {
				return "off"
			}
			return v.show(c)
		},
	}
}

// endpoint is an address that others connect to.
func endpoint(at func(*Config) *string) value {
	return value{
		form: "`host:port`",
		set: func(c *Config, s string) error {
			var a Address
			v := address(func(*Config) *Address { return &a })
			if s == "" {
				*at(c) = ""
				return nil
			}
			if err := v.set(c, s); err != nil {
				return err
			}
			if a.Off() || a.Wildcard() || strings.HasSuffix(s, ":0") {
				return fmt.Errorf("%q is nowhere that others can connect to: write host:port", s)
			}
			*at(c) = s
			return nil
		},
		show: func(c *Config) string { return *at(c) },
	}
}

// endpointText is a host:port that others can connect to.
func endpointText(s string) (string, error) {
	var c Config
	var at string
	err := endpoint(func(*Config) *string { return &at }).set(&c, s)
	return at, err
}

// shortDuration is 2m where the standard library says 2m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func bytes(least, most ByteSize, at func(*Config) *ByteSize) value {
	return value{
		form: "a size such as `64MiB`",
		set: func(c *Config, s string) error {
			n, ok := parseBytes(s)
			if !ok || n < least || n > most {
				return fmt.Errorf("%q is not a size from %s to %s: write a number and KiB, MiB, GiB or TiB", s, least, most)
			}
			*at(c) = n
			return nil
		},
		show: func(c *Config) string { return at(c).String() },
	}
}

func parseBytes(s string) (ByteSize, bool) {
	size := ByteSize(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			s, size = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > uint64(1<<63)/uint64(size) {
		return 0, false
	}
	return ByteSize(n) * size, true
}

func oneOf(at func(*Config) *string, words ...string) value {
	v := text("`"+strings.Join(words, "` or `")+"`", at)
	v.set = func(c *Config, s string) error {
		if !slices.Contains(words, s) {
			return fmt.Errorf("%q is not one of: %s", s, strings.Join(words, ", "))
		}
		*at(c) = s
		return nil
	}
	return v
}

func level() value {
	return value{
		form: "`debug`, `info`, `warn` or `error`",
		set: func(c *Config, s string) error {
			for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
				if s == strings.ToLower(l.String()) {
					c.Log.Level = l
					return nil
				}
			}
			return fmt.Errorf("%q is not one of: debug, info, warn, error", s)
		},
		show: func(c *Config) string { return strings.ToLower(c.Log.Level.String()) },
	}
}

func httpURL(at func(*Config) *string) value {
	v := text("an `http://` or `https://` URL", at)
	v.set = func(c *Config, s string) error {
		u, err := url.Parse(s)
		if s != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("%q is not a URL: write http://host/path or https://host/path", s)
		}
		*at(c) = s
		return nil
	}
	return v
}

func truth(at func(*Config) *bool) value {
	return value{
		form: "`true` or `false`",
		set: func(c *Config, s string) error {
			if s != "true" && s != "false" {
				return fmt.Errorf("%q is not one of: true, false", s)
			}
			*at(c) = s == "true"
			return nil
		},
		show: func(c *Config) string { return strconv.FormatBool(*at(c)) },
	}
}

// list is several values with commas between them; item checks one and gives it its usual form.
func list(form string, item func(string) (string, error), at func(*Config) *[]string) value {
	return value{
		form: form,
		set: func(c *Config, s string) error {
			var all []string
			for one := range strings.SplitSeq(s, ",") {
				if one = strings.TrimSpace(one); one == "" {
					continue
				}
				one, err := item(one)
				if err != nil {
					return err
				}
				all = append(all, one)
			}
			*at(c) = all
			return nil
		},
		show: func(c *Config) string { return strings.Join(*at(c), ",") },
	}
}

func origin(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || s != u.Scheme+"://"+u.Host {
		return "", fmt.Errorf("%q is not an origin: write https://host or https://host:port, without a path", s)
	}
	return strings.ToLower(s), nil
}

func proxies() value {
	return value{
		form: "addresses or networks such as `192.0.2.7,10.0.0.0/8`",
		set: func(c *Config, s string) error {
			var all Proxies
			for one := range strings.SplitSeq(s, ",") {
				if one = strings.TrimSpace(one); one == "" {
					continue
				}
				network, err := netip.ParsePrefix(one)
				if ip, ipErr := netip.ParseAddr(one); ipErr == nil {
					network, err = netip.PrefixFrom(ip, ip.BitLen()), nil
				}
				if err != nil {
					return fmt.Errorf("%q is neither an address nor a network: write 192.0.2.7 or 10.0.0.0/8", one)
				}
				all = append(all, network.Masked())
			}
			c.Proxies = all
			return nil
		},
		show: func(c *Config) string { return c.Proxies.String() },
	}
}
