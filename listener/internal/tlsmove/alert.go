package tlsmove

import "crypto/tls"

// Alerts of RFC 8446, 6.
const (
	alertClose      = tls.AlertError(0)
	alertUnexpected = tls.AlertError(10)
	alertBadMAC     = tls.AlertError(20)
	alertOverflow   = tls.AlertError(22)
	alertIllegal    = tls.AlertError(47)
	alertDecode     = tls.AlertError(50)
	alertVersion    = tls.AlertError(70)
	alertInternal   = tls.AlertError(80)
	alertCanceled   = tls.AlertError(90)
)

const (
	levelWarning = 1
	levelFatal   = 2
)
