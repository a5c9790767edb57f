package protocol

// Kind is KindSendMessage.
func (*SendMessage) Kind() CommandKind { return KindSendMessage }

// Kind is KindMarkRead.
func (*MarkRead) Kind() CommandKind { return KindMarkRead }

// Kind is KindRemoveSession.
func (*RemoveSession) Kind() CommandKind { return KindRemoveSession }

// Kind is KindRegisterDevice.
func (*RegisterDevice) Kind() CommandKind { return KindRegisterDevice }

// Kind is KindSetPushShield.
func (*SetPushShield) Kind() CommandKind { return KindSetPushShield }

// Kind is KindShieldGroup.
func (*ShieldGroup) Kind() CommandKind { return KindShieldGroup }

// Kind is KindChangeSign.
func (*ChangeSign) Kind() CommandKind { return KindChangeSign }

// Kind is KindChangeAvatar.
func (*ChangeAvatar) Kind() CommandKind { return KindChangeAvatar }

// Kind is KindCreateGroup.
func (*CreateGroup) Kind() CommandKind { return KindCreateGroup }

// Kind is KindChangeMembers.
func (*ChangeMembers) Kind() CommandKind { return KindChangeMembers }

// Kind is KindAddOfflineFile.
func (*AddOfflineFile) Kind() CommandKind { return KindAddOfflineFile }

// Kind is KindDeleteOfflineFile.
func (*DeleteOfflineFile) Kind() CommandKind { return KindDeleteOfflineFile }

// Kind is KindAddUsers.
func (*AddUsers) Kind() CommandKind { return KindAddUsers }

// Kind is KindEditUser.
func (*EditUser) Kind() CommandKind { return KindEditUser }

// Kind is KindSetPassword.
func (*SetPassword) Kind() CommandKind { return KindSetPassword }

// Kind is KindPutDepartment.
func (*PutDepartment) Kind() CommandKind { return KindPutDepartment }

// Kind is KindEditGroup.
func (*EditGroup) Kind() CommandKind { return KindEditGroup }

// Kind is KindFoundCluster.
func (*FoundCluster) Kind() CommandKind { return KindFoundCluster }

// Kind is KindRevokeSessions.
func (*RevokeSessions) Kind() CommandKind { return KindRevokeSessions }

// Kind is KindDeleteMessage.
func (*DeleteMessage) Kind() CommandKind { return KindDeleteMessage }

// Kind is KindBurnDue.
func (*BurnDue) Kind() CommandKind { return KindBurnDue }

// Kind is KindRaiseLevel.
func (*RaiseLevel) Kind() CommandKind { return KindRaiseLevel }

// Kind is KindSetIdentity.
func (*SetIdentity) Kind() CommandKind { return KindSetIdentity }

// Kind is KindAddInvitation.
func (*AddInvitation) Kind() CommandKind { return KindAddInvitation }

// Kind is KindSetPeer.
func (*SetPeer) Kind() CommandKind { return KindSetPeer }

// Kind is KindReceiveEvent.
func (*ReceiveEvent) Kind() CommandKind { return KindReceiveEvent }

// Kind is KindAckEvents.
func (*AckEvents) Kind() CommandKind { return KindAckEvents }

// Kind is KindSweepFederation.
func (*SweepFederation) Kind() CommandKind { return KindSweepFederation }

// Kind is KindAddAlias.
func (*AddAlias) Kind() CommandKind { return KindAddAlias }

// Kind is KindReceiveHistory.
func (*ReceiveHistory) Kind() CommandKind { return KindReceiveHistory }

// NewCommand is an empty command of the given kind to decode into; nil if the kind is not known.
func NewCommand(k CommandKind) Command {
	switch k {
	case KindSendMessage:
		return new(SendMessage)
	case KindMarkRead:
		return new(MarkRead)
	case KindRemoveSession:
		return new(RemoveSession)
	case KindRegisterDevice:
		return new(RegisterDevice)
	case KindSetPushShield:
		return new(SetPushShield)
	case KindShieldGroup:
		return new(ShieldGroup)
	case KindChangeSign:
		return new(ChangeSign)
	case KindChangeAvatar:
		return new(ChangeAvatar)
	case KindCreateGroup:
		return new(CreateGroup)
	case KindChangeMembers:
		return new(ChangeMembers)
	case KindAddOfflineFile:
		return new(AddOfflineFile)
	case KindDeleteOfflineFile:
		return new(DeleteOfflineFile)
	case KindAddUsers:
		return new(AddUsers)
	case KindEditUser:
		return new(EditUser)
	case KindSetPassword:
		return new(SetPassword)
	case KindPutDepartment:
		return new(PutDepartment)
	case KindEditGroup:
		return new(EditGroup)
	case KindFoundCluster:
		return new(FoundCluster)
	case KindRevokeSessions:
		return new(RevokeSessions)
	case KindDeleteMessage:
		return new(DeleteMessage)
	case KindBurnDue:
		return new(BurnDue)
	case KindRaiseLevel:
		return new(RaiseLevel)
	case KindSetIdentity:
		return new(SetIdentity)
	case KindAddInvitation:
		return new(AddInvitation)
	case KindSetPeer:
		return new(SetPeer)
	case KindReceiveEvent:
		return new(ReceiveEvent)
	case KindAckEvents:
		return new(AckEvents)
	case KindSweepFederation:
		return new(SweepFederation)
	case KindAddAlias:
		return new(AddAlias)
	case KindReceiveHistory:
		return new(ReceiveHistory)
	case KindPutBlob:
		return new(PutBlob)
	case KindHoldBlobs:
		return new(HoldBlobs)
	case KindDropBlobs:
		return new(DropBlobs)
	}
	return nil
}
