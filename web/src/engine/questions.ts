// What the web client asks of a server, and what answers it.

import { DeleteReqSchema, DeleteRspSchema, SearchReqSchema } from "../pb/chatpb/chat_pb";
import {
  IMAllUserReqSchema,
  IMAllUserRspSchema,
  IMChangeAvatarReqSchema,
  IMChangeAvatarRspSchema,
  IMChangeSignInfoReqSchema,
  IMChangeSignInfoRspSchema,
  IMDepartmentReqSchema,
  IMDepartmentRspSchema,
  IMRecentContactSessionReqSchema,
  IMRecentContactSessionRspSchema,
  IMRemoveSessionReqSchema,
  IMRemoveSessionRspSchema,
  IMUsersInfoReqSchema,
  IMUsersInfoRspSchema,
  IMUsersStatReqSchema,
  IMUsersStatRspSchema,
} from "../pb/IM.Buddy_pb";
import { IMFileHasOfflineReqSchema, IMFileHasOfflineRspSchema } from "../pb/IM.File_pb";
import {
  IMGroupChangeMemberReqSchema,
  IMGroupChangeMemberRspSchema,
  IMGroupCreateReqSchema,
  IMGroupCreateRspSchema,
  IMGroupInfoListReqSchema,
  IMGroupInfoListRspSchema,
  IMGroupShieldReqSchema,
  IMGroupShieldRspSchema,
  IMNormalGroupListReqSchema,
  IMNormalGroupListRspSchema,
} from "../pb/IM.Group_pb";
import {
  IMGetMsgListReqSchema,
  IMGetMsgListRspSchema,
  IMUnreadMsgCntReqSchema,
  IMUnreadMsgCntRspSchema,
} from "../pb/IM.Message_pb";
import { Cmd } from "./wire/commands";

export const Ask = {
  allUsers: {
    command: Cmd.allUsersReq,
    request: IMAllUserReqSchema,
    answer: Cmd.allUsersRes,
    response: IMAllUserRspSchema,
  },
  users: {
    command: Cmd.usersReq,
    request: IMUsersInfoReqSchema,
    answer: Cmd.usersRes,
    response: IMUsersInfoRspSchema,
  },
  departments: {
    command: Cmd.departmentsReq,
    request: IMDepartmentReqSchema,
    answer: Cmd.departmentsRes,
    response: IMDepartmentRspSchema,
  },
  recent: {
    command: Cmd.recentReq,
    request: IMRecentContactSessionReqSchema,
    answer: Cmd.recentRes,
    response: IMRecentContactSessionRspSchema,
  },
  unread: {
    command: Cmd.unreadReq,
    request: IMUnreadMsgCntReqSchema,
    answer: Cmd.unreadRes,
    response: IMUnreadMsgCntRspSchema,
  },
  history: {
    command: Cmd.historyReq,
    request: IMGetMsgListReqSchema,
    answer: Cmd.historyRes,
    response: IMGetMsgListRspSchema,
  },
  presence: {
    command: Cmd.presenceReq,
    request: IMUsersStatReqSchema,
    answer: Cmd.presenceRes,
    response: IMUsersStatRspSchema,
  },
  normalGroups: {
    command: Cmd.normalGroupsReq,
    request: IMNormalGroupListReqSchema,
    answer: Cmd.normalGroupsRes,
    response: IMNormalGroupListRspSchema,
  },
  groups: {
    command: Cmd.groupsReq,
    request: IMGroupInfoListReqSchema,
    answer: Cmd.groupsRes,
    response: IMGroupInfoListRspSchema,
  },
  createGroup: {
    command: Cmd.createGroupReq,
    request: IMGroupCreateReqSchema,
    answer: Cmd.createGroupRes,
    response: IMGroupCreateRspSchema,
    once: true,
  },
  changeMembers: {
    command: Cmd.changeMembersReq,
    request: IMGroupChangeMemberReqSchema,
    answer: Cmd.changeMembersRes,
    response: IMGroupChangeMemberRspSchema,
    once: true,
  },
  shield: {
    command: Cmd.shieldReq,
    request: IMGroupShieldReqSchema,
    answer: Cmd.shieldRes,
    response: IMGroupShieldRspSchema,
  },
  sign: {
    command: Cmd.signReq,
    request: IMChangeSignInfoReqSchema,
    answer: Cmd.signRes,
    response: IMChangeSignInfoRspSchema,
  },
  avatar: {
    command: Cmd.avatarReq,
    request: IMChangeAvatarReqSchema,
    answer: Cmd.avatarRes,
    response: IMChangeAvatarRspSchema,
  },
  removeSession: {
    command: Cmd.removeSessionReq,
    request: IMRemoveSessionReqSchema,
    answer: Cmd.removeSessionRes,
    response: IMRemoveSessionRspSchema,
  },
  offlineFiles: {
    command: Cmd.offlineFilesReq,
    request: IMFileHasOfflineReqSchema,
    answer: Cmd.offlineFilesRes,
    response: IMFileHasOfflineRspSchema,
  },
  erase: {
    command: Cmd.deleteReq,
    request: DeleteReqSchema,
    answer: Cmd.deleteRes,
    response: DeleteRspSchema,
  },
  search: {
    command: Cmd.searchReq,
    request: SearchReqSchema,
    answer: Cmd.searchRes,
    response: IMUsersInfoRspSchema,
  },
} as const;
