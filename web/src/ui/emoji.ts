// Emoji. The old clients write them as names in brackets, of which each draws its own pictures; here they are drawn as Unicode. What is picked
// here goes out under the old name where there is one, so that the old clients draw it too.

/** The set of the phones, in their order; 46 there, of which one name stands twice. */
export const classic: readonly (readonly [name: string, emoji: string])[] = [
  ["呵呵", "🙂"],
  ["嘻嘻", "😁"],
  ["哈哈", "😄"],
  ["晕", "😵"],
  ["泪", "😢"],
  ["馋嘴", "🤤"],
  ["抓狂", "😫"],
  ["哼", "😤"],
  ["可爱", "😊"],
  ["怒", "😡"],
  ["困", "😪"],
  ["汗", "😓"],
  ["睡觉", "😴"],
  ["偷笑", "🤭"],
  ["酷", "😎"],
  ["吃惊", "😲"],
  ["闭嘴", "🤐"],
  ["花心", "😍"],
  ["失望", "😞"],
  ["生病", "🤒"],
  ["亲亲", "😚"],
  ["右哼哼", "😒"],
  ["嘘", "🤫"],
  ["挤眼", "😉"],
  ["感冒", "😷"],
  ["做鬼脸", "😜"],
  ["阴险", "😏"],
  ["热吻", "😘"],
  ["心", "❤️"],
  ["ok", "👌"],
  ["不要", "🙅"],
  ["弱", "👎"],
  ["good", "👍"],
  ["拳头", "👊"],
  ["耶", "✌️"],
  ["0", "0️⃣"],
  ["1", "1️⃣"],
  ["2", "2️⃣"],
  ["3", "3️⃣"],
  ["4", "4️⃣"],
  ["5", "5️⃣"],
  ["6", "6️⃣"],
  ["7", "7️⃣"],
  ["8", "8️⃣"],
  ["9", "9️⃣"],
];

/** Names that other old clients write besides, and the animated figures: only read, never written. */
const others: Readonly<Record<string, string>> = {
  微笑: "🙂",
  爱你: "🥰",
  害羞: "☺️",
  钱: "🤑",
  衰: "😩",
  鄙视: "🙄",
  挖鼻屎: "👃",
  鼓掌: "👏",
  思考: "🤔",
  怒骂: "🤬",
  太开心: "😆",
  懒得理你: "😑",
  左哼哼: "😒",
  委屈: "🥺",
  吐: "🤮",
  可怜: "🥺",
  打哈气: "🥱",
  握手: "🤝",
  赞: "👍",
  来: "🫴",
  蛋糕: "🎂",
  伤心: "💔",
  钟: "⏰",
  猪头: "🐷",
  咖啡: "☕",
  话筒: "🎤",
  干杯: "🍻",
  绿丝带: "🎗️",
  蜡烛: "🕯️",
  微风: "🍃",
  月亮: "🌙",
  书呆子: "🤓",
  牙牙撒花: "🎉",
  牙牙尴尬: "😅",
  牙牙大笑: "😂",
  牙牙组团: "👯",
  牙牙凄凉: "🍂",
  牙牙吐血: "🤮",
  牙牙花痴: "😍",
  牙牙疑问: "❓",
  牙牙爱心: "💗",
  牙牙害羞: "😳",
  牙牙牙买碟: "💿",
  牙牙亲一下: "😽",
  牙牙大哭: "😭",
  牙牙愤怒: "😠",
  牙牙挖鼻屎: "👃",
  牙牙嘻嘻: "😁",
  牙牙漂漂: "💅",
  牙牙冰冻: "🥶",
  牙牙傲娇: "😌",
};

const byName = new Map<string, string>([...Object.entries(others), ...classic]);
const byEmoji = new Map<string, string>(classic.map(([name, emoji]) => [emoji, name]));

// "a[0]" and "x()[1]" are code and no digits of the old set.
const bracketed = /(?<![\w)\]])\[([0-9])\]|\[([^[\]\s]{1,6})\]/gu;

/** The text with the old names drawn. */
export function drawn(text: string): string {
  if (!text.includes("[")) {
    return text;
  }
  return text.replace(bracketed, (whole: string, digit: string | undefined, name: string | undefined) => {
    const isDigit = digit !== undefined || /^[0-9]$/.test(name ?? "");
    return isDigit ? (digit === undefined ? whole : (byName.get(digit) ?? whole)) : (byName.get(name ?? "") ?? whole);
  });
}

const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });

/** The text with the old names written, where there are some. */
export function written(text: string): string {
  if (!/[^\n -ÿ]/u.test(text)) {
    return text;
  }
  let out = "";
  for (const { segment } of graphemes.segment(text)) {
    const name = byEmoji.get(segment);
    out += name === undefined ? segment : `[${name}]`;
  }
  return out;
}

/** How many emoji a drawn text is, if it is nothing else and at most six: such a message is shown large. 0: it is not. */
export function onlyEmoji(text: string): number {
  const trimmed = text.replace(/\s+/gu, "");
  if (trimmed === "" || trimmed.length > 60) {
    return 0;
  }
  let n = 0;
  for (const { segment } of graphemes.segment(trimmed)) {
    const pictured = /\p{Emoji_Presentation}|\p{Extended_Pictographic}|️|⃣/u.test(segment);
    if (!pictured || ++n > 6) {
      return 0;
    }
  }
  return n;
}

/** What the picker has besides the classic ones. */
export const modern = {
  faces: [
    ..."😀😃😄😁😆😅😂🤣😊🙂🙃😉😌😍🥰😘😋😛😜🤪🤨🧐🤓😎🤩🥳😏😒😞😔😟🙁😣😖😫😩🥺😢😭😤😠😡🤯😳🥵🥶😱😨😰😥😓🤗🤔🤭🤫🤥😶😐😑😬🙄😯😲🥱😴🤤😪😵🤐🤢🤮🤧😷🤒🤕",
  ],
  hands: [
    "👍",
    "👎",
    "👌",
    "✌️",
    "🤞",
    "🤟",
    "🤙",
    "👈",
    "👉",
    "👆",
    "👇",
    "☝️",
    "✋",
    "👋",
    "👏",
    "🙌",
    "🤝",
    "🙏",
    "💪",
    "✍️",
    "👊",
    "🙅",
    "🙆",
    "🙋",
    "🤦",
    "🤷",
  ],
  things: [
    "❤️",
    "🧡",
    "💛",
    "💚",
    "💙",
    "💜",
    "💔",
    "💯",
    "✅",
    "❌",
    "❓",
    "❗",
    "⚠️",
    "🔥",
    "✨",
    "🎉",
    "🎂",
    "🎁",
    "🏆",
    "☕",
    "🍵",
    "🍜",
    "🍚",
    "🥟",
    "🍺",
    "🍻",
    "🍎",
    "🌙",
    "☀️",
    "🌧️",
    "⏰",
    "📅",
    "📌",
    "📎",
    "📷",
    "💻",
    "📱",
    "🚀",
    "🚗",
    "🚄",
    "✈️",
    "🏠",
    "🏢",
    "🐶",
    "🐱",
    "🐼",
    "🐷",
    "🌹",
  ],
} as const;
