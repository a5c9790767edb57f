package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"teamtalk/protocol"
)

// S3Config says where a store with the S3 interface is. Endpoint and Bucket are needed.
type S3Config struct {
	Endpoint string // host:port
	Bucket   string
	Region   string // "": asked for
	// AccessKey and SecretKey; "" for a store that asks for none.
	AccessKey, SecretKey string
	// Prefix is what the names of objects begin with.
	Prefix string
	// TLS has it reached by HTTPS.
	TLS bool
	// Transport makes the requests; nil is the library's.
	Transport http.RoundTripper
}

// S3 is a Backend of objects PREFIXab/cd/<64 hexadecimal digits> in a bucket that all nodes share.
type S3 struct {
	core   minio.Core
	bucket string
	prefix string
}

var _ Backend = (*S3)(nil)

const (
	// partSize is how large objects are cut, which are read from the disk again for each attempt: nothing of that size is in memory.
	partSize  = 64 << 20
	partsOnce = 2
	// attempts is how often a request is made before it has failed.
	attempts = 4
)

// NewS3 prepares to use a store, without asking it anything.
func NewS3(c S3Config) (*S3, error) {
	core, err := minio.NewCore(c.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(c.AccessKey, c.SecretKey, ""), Secure: c.TLS, Region: c.Region, Transport: c.Transport, MaxRetries: attempts,
	})
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	return &S3{core: *core, bucket: c.Bucket, prefix: c.Prefix}, nil
}

// Check asks for the bucket, which has to exist.
func (s *S3) Check(ctx context.Context) error {
	there, err := s.core.BucketExists(ctx, s.bucket)
	if err != nil {
		return fmt.Errorf("s3: bucket %s at %s: %w", s.bucket, s.core.EndpointURL(), err)
	}
	if !there {
		return fmt.Errorf("s3: there is no bucket %s at %s: make it", s.bucket, s.core.EndpointURL())
	}
	return nil
}

// Shared is true.
func (s *S3) Shared() bool { return true }

func (s *S3) name(id protocol.BlobID) string {
	hex := id.String()
	return s.prefix + hex[:2] + "/" + hex[2:4] + "/" + hex
}

// Put uploads the file; the store says when it is safe there.
func (s *S3) Put(ctx context.Context, id protocol.BlobID, path string, size uint64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if at, err := f.Stat(); err != nil || uint64(at.Size()) != size {
		return wrongSize(at, size, err)
	}
	// Nothing can't be signed in chunks: the library would send it without a length, which stores refuse.
	opts := minio.PutObjectOptions{ContentType: "application/octet-stream", PartSize: partSize, NumThreads: partsOnce, DisableContentSha256: size == 0}
	info, err := s.core.Client.PutObject(ctx, s.bucket, s.name(id), f, int64(size), opts)
	if err != nil {
		return err
	}
	if uint64(info.Size) != size {
		return fmt.Errorf("the store took %d bytes instead of %d", info.Size, size)
	}
	return nil
}

// Open reads the object by requests for ranges.
func (s *S3) Open(ctx context.Context, id protocol.BlobID) (io.ReadSeekCloser, error) {
	at, err := s.Stat(ctx, id)
	if err != nil {
		return nil, err
	}
	return &object{store: s, ctx: ctx, name: s.name(id), size: int64(at.Size)}, nil
}

// Stat asks for the object's head.
func (s *S3) Stat(ctx context.Context, id protocol.BlobID) (Stat, error) {
	info, err := s.core.StatObject(ctx, s.bucket, s.name(id), minio.StatObjectOptions{})
	if err != nil {
		return Stat{}, noObject(err)
	}
	return Stat{Size: uint64(info.Size), Put: info.LastModified}, nil
}

func noObject(err error) error {
	if err != nil && minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		return ErrMissing
	}
	return err
}

// Remove removes the object.
func (s *S3) Remove(ctx context.Context, id protocol.BlobID) error {
	err := noObject(s.core.RemoveObject(ctx, s.bucket, s.name(id), minio.RemoveObjectOptions{}))
	if errors.Is(err, ErrMissing) {
		return nil
	}
	return err
}

// List asks for the objects with the prefix. What is not named like a blob is passed over.
func (s *S3) List(ctx context.Context, found func(protocol.BlobID, Stat) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for info := range s.core.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix, Recursive: true}) {
		if info.Err != nil {
			return info.Err
		}
		id, err := protocol.ParseBlobID(info.Key[strings.LastIndexByte(info.Key, '/')+1:])
		if err != nil || info.Key != s.name(id) {
			continue
		}
		if err := found(id, Stat{Size: uint64(info.Size), Put: info.LastModified}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// object reads an object from where it was sought to on.
type object struct {
	store *S3
	ctx   context.Context //nolint:containedctx // a reader's: it has no other way to be told to stop
	name  string
	size  int64
	off   int64
	body  io.ReadCloser // from off on; nil: not asked for yet
}

// Read asks for the rest of the object the first time.
func (o *object) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if o.off >= o.size {
		return 0, io.EOF
	}
	if o.body == nil {
		var opts minio.GetObjectOptions
		if err := opts.SetRange(o.off, o.size-1); err != nil {
			return 0, err
		}
		body, _, _, err := o.store.core.GetObject(o.ctx, o.store.bucket, o.name, opts)
		if err != nil {
			return 0, noObject(err)
		}
		o.body = body
	}
	n, err := o.body.Read(b)
	o.off += int64(n)
	if errors.Is(err, io.EOF) && o.off < o.size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Seek sets where the next Read begins.
func (o *object) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.off
	case io.SeekEnd:
		offset += o.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the begin of a blob")
	}
	if offset != o.off {
		_ = o.Close()
	}
	o.off = offset
	return offset, nil
}

// Close ends the request.
func (o *object) Close() error {
	if o.body == nil {
		return nil
	}
	err := o.body.Close()
	o.body = nil
	return err
}
