import "./people.css";

export { PersonCard } from "./card";
export { Contacts } from "./contacts";
export { GroupPanel } from "./grouppanel";
export { NewConversation } from "./newconversation";
export { Settings } from "./settings";
