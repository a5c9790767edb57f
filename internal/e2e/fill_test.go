package e2e

import (
	"math/rand/v2"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// fillRandomly sets most fields of a message to values of the right type: small ids that exist, and the edges of the types.
func fillRandomly(m protoreflect.Message, random *rand.Rand) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if random.IntN(12) == 0 {
			continue
		}
		if fd.IsList() {
			list := m.Mutable(fd).List()
			for range random.IntN(5) {
				if fd.Kind() == protoreflect.MessageKind {
					fillRandomly(list.AppendMutable().Message(), random)
				} else {
					list.Append(randomValue(fd, random))
				}
			}
		} else if fd.Kind() == protoreflect.MessageKind {
			fillRandomly(m.Mutable(fd).Message(), random)
		} else {
			m.Set(fd, randomValue(fd, random))
		}
	}
}

func randomValue(fd protoreflect.FieldDescriptor, random *rand.Rand) protoreflect.Value {
	numbers := []uint32{0, 1, 2, 3, random.Uint32N(30), random.Uint32(), 1<<31 - 1, 1 << 31, 1<<32 - 1}
	n := numbers[random.IntN(len(numbers))]
	switch fd.Kind() {
	case protoreflect.EnumKind:
		if values := fd.Enum().Values(); random.IntN(10) > 0 {
			return protoreflect.ValueOfEnum(values.Get(random.IntN(values.Len())).Number())
		}
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(n&1 == 1)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(n) << random.IntN(33))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(randomText(random))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(randomText(random)))
	}
	return protoreflect.ValueOfUint32(n)
}

func randomText(random *rand.Rand) string {
	texts := []string{"", "x", "user1", "../../etc/passwd", "' or '1'='1", "\u202e成功\x00", string(make([]byte, random.IntN(3000)))}
	return texts[random.IntN(len(texts))]
}
