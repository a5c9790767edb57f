package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// stateVersion is the form of a Saved.
const stateVersion = 1

// FileStorage keeps the Saved in a file that only its owner can read. Each Save writes a new file beside it, syncs it and renames it, so
// that a crash leaves the old one or the new one.
type FileStorage struct{ path string }

// NewFileStorage keeps the Saved in the file named, whose folder is made if it is missing.
func NewFileStorage(path string) (*FileStorage, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("client: storage: %w", err)
	}
	return &FileStorage{path: path}, nil
}

// Load reads the file; a missing one is a zero Saved.
func (f *FileStorage) Load() (Saved, error) {
	text, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return Saved{}, nil
	}
	if err != nil {
		return Saved{}, fmt.Errorf("client: storage: %w", err)
	}
	var s Saved
	if err := json.Unmarshal(text, &s); err != nil {
		return Saved{}, fmt.Errorf("client: storage %s: %w", f.path, err)
	}
	if s.Version != stateVersion {
		return Saved{}, fmt.Errorf("client: storage %s has version %d, this program knows %d", f.path, s.Version, stateVersion)
	}
	return s, nil
}

// Save replaces the file.
func (f *FileStorage) Save(s Saved) error {
	s.Version = stateVersion
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("client: storage: %w", err)
	}
	if err := f.replace(text); err != nil {
		return fmt.Errorf("client: storage: %w", err)
	}
	return nil
}

func (f *FileStorage) replace(text []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = temp.Write(text)
	if err == nil {
		err = temp.Sync()
	}
	if closed := temp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(temp.Name(), f.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return syncDir(filepath.Dir(f.path))
}

// syncDir makes a rename survive. Where folders can't be synced, the rename is what there is.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) {
		return err
	}
	return nil
}
