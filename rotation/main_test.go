package rotation_test

import (
	"testing"

	"sealpost/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }
