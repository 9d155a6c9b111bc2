package companion

// What tests from outside look at.
const QueueRoom = queueRoom

var (
	Resident = resident
	Hasten   = hasten
)
