package node

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxFile is the largest file that the legacy protocol can name.
const maxFile = 4<<30 - 1

func filesOptions() []Option {
	return []Option{
		{Key: "files.dir", Default: "", Help: "directory of pictures, voice messages and files; empty: blobs in the data directory",
			value: text("a directory", func(c *Config) *string { return &c.Files.Dir })},
		{Key: "files.max_upload", Default: "100MiB", Help: "largest picture, voice message or file that is taken over HTTP",
			value: bytes(1<<10, maxFile, func(c *Config) *ByteSize { return &c.Files.MaxUpload })},
		{Key: "files.max_file", Default: strconv.Itoa(maxFile), Help: "largest file of a file transfer",
			value: bytes(1<<10, maxFile, func(c *Config) *ByteSize { return &c.Files.MaxFile })},
		{Key: "files.quota", Default: "0", Help: "bytes that all of them together may have; 0: no limit",
			value: bytes(0, 1<<60, func(c *Config) *ByteSize { return &c.Files.Quota })},
		{Key: "files.user_quota", Default: "0", Help: "bytes that those of one user may have; 0: no limit",
			value: bytes(0, 1<<60, func(c *Config) *ByteSize { return &c.Files.UserQuota })},
		{Key: "files.retention", Default: "off", Help: "age at which they are removed, whatever still shows them; off: they stay as long as their messages",
			value: age(func(c *Config) *time.Duration { return &c.Files.Retention })},
		{Key: "files.unused", Default: "7d", Help: "age at which those are removed that no message and no profile shows; off: they stay",
			value: age(func(c *Config) *time.Duration { return &c.Files.Unused })},
		{Key: "files.legacy_access", Default: "session", Help: "who may use the picture store without a signed URL, as the old clients do; session: addresses from which somebody is logged in; open: everybody; off: nobody",
			value: oneOf(func(c *Config) *string { return &c.Files.LegacyAccess }, "session", "open", "off")},
		{Key: "files.s3.endpoint", Default: "", Help: "a store with the S3 interface, used by all nodes instead of their disks; empty: none",
			value: endpoint(func(c *Config) *string { return &c.Files.S3.Endpoint })},
		{Key: "files.s3.bucket", Default: "", Help: "bucket there, which has to exist",
			value: text("a name", func(c *Config) *string { return &c.Files.S3.Bucket })},
		{Key: "files.s3.region", Default: "", Help: "its region; empty: asked for",
			value: text("a name", func(c *Config) *string { return &c.Files.S3.Region })},
		{Key: "files.s3.access_key_file", Default: "", Help: "file that holds the access key",
			value: text("a file", func(c *Config) *string { return &c.Files.S3.AccessKeyFile })},
		{Key: "files.s3.secret_key_file", Default: "", Help: "file that holds the secret key",
			value: text("a file", func(c *Config) *string { return &c.Files.S3.SecretKeyFile })},
		{Key: "files.s3.prefix", Default: "", Help: "what the names of objects begin with, for buckets that others use, too",
			value: text("a text", func(c *Config) *string { return &c.Files.S3.Prefix })},
		{Key: "files.s3.tls", Default: "true", Help: "whether the store is reached by HTTPS",
			value: truth(func(c *Config) *bool { return &c.Files.S3.TLS })},
	}
}

const (
	day    = 24 * time.Hour
	maxAge = 100 * 365 * day
)

// age is a long duration, in days if it likes, that may be off, which is 0.
func age(at func(*Config) *time.Duration) value {
	return value{
		form: "a duration such as `12h` or `30d`, or `off`",
		set: func(c *Config, s string) error {
			d, ok := parseAge(s)
			if !ok {
				return fmt.Errorf("%q is not a duration: write a number and a unit, such as 30m, 12h or 30d, at most %dd, or off", s, maxAge/day)
			}
			*at(c) = d
			return nil
		},
		show: func(c *Config) string {
			switch d := *at(c); {
			case d == 0:
				return "off"
			case d%day == 0:
				return strconv.Itoa(int(d/day)) + "d"
			default:
				return shortDuration(d)
			}
		},
	}
}

func parseAge(s string) (time.Duration, bool) {
	if s == "off" {
		return 0, true
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 32)
		d := time.Duration(n) * day
		return d, err == nil && n > 0 && n <= uint64(maxAge/day)
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d > 0 && d <= maxAge
}
