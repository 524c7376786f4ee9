"""Invented Chinese names, departments and job titles. Pure data and picks from a given random source."""

from random import Random
from typing import Final

SURNAMES: Final = (
    ("王", "wang"), ("李", "li"), ("张", "zhang"), ("刘", "liu"), ("陈", "chen"), ("杨", "yang"),
    ("赵", "zhao"), ("黄", "huang"), ("周", "zhou"), ("吴", "wu"), ("徐", "xu"), ("孙", "sun"),
    ("胡", "hu"), ("朱", "zhu"), ("高", "gao"), ("林", "lin"), ("何", "he"), ("郭", "guo"),
    ("马", "ma"), ("罗", "luo"), ("梁", "liang"), ("宋", "song"), ("郑", "zheng"), ("谢", "xie"),
    ("韩", "han"), ("唐", "tang"), ("冯", "feng"), ("于", "yu"), ("董", "dong"), ("萧", "xiao"),
    ("程", "cheng"), ("曹", "cao"), ("袁", "yuan"), ("邓", "deng"), ("许", "xu"), ("傅", "fu"),
    ("沈", "shen"), ("曾", "zeng"), ("彭", "peng"), ("吕", "lv"), ("欧阳", "ouyang"), ("诸葛", "zhuge"),
)  # fmt: skip
"""Surnames with their pinyin, the common ones first; two of them have two characters."""

GIVEN: Final = (
    ("伟", "wei"), ("芳", "fang"), ("娜", "na"), ("秀英", "xiuying"), ("敏", "min"), ("静", "jing"),
    ("丽", "li"), ("强", "qiang"), ("磊", "lei"), ("军", "jun"), ("洋", "yang"), ("勇", "yong"),
    ("艳", "yan"), ("杰", "jie"), ("娟", "juan"), ("涛", "tao"), ("明", "ming"), ("超", "chao"),
    ("秀兰", "xiulan"), ("霞", "xia"), ("平", "ping"), ("刚", "gang"), ("桂英", "guiying"),
    ("文博", "wenbo"), ("子涵", "zihan"), ("梓萱", "zixuan"), ("浩然", "haoran"), ("雨桐", "yutong"),
    ("思远", "siyuan"), ("嘉怡", "jiayi"), ("天佑", "tianyou"), ("晓明", "xiaoming"), ("雪梅", "xuemei"),
    ("志强", "zhiqiang"), ("建国", "jianguo"), ("海燕", "haiyan"), ("佳琪", "jiaqi"), ("宇轩", "yuxuan"),
    ("欣怡", "xinyi"), ("俊熙", "junxi"), ("婉清", "wanqing"), ("一诺", "yinuo"),
    ("玥", "yue"), ("喆", "zhe"),
)  # fmt: skip

DEPARTMENTS: Final = {
    "研发中心": ("平台组", "前端组", "移动端组", "算法组", "测试组", "运维组"),
    "产品部": ("用户研究组", "设计组", "数据产品组"),
    "市场部": ("品牌组", "渠道组", "内容组"),
    "销售部": ("华东区", "华南区", "华北区", "大客户组"),
    "客户服务部": ("售后组", "热线组"),
    "人力资源部": ("招聘组", "薪酬组"),
    "财务部": ("会计组", "资金组"),
    "供应链部": ("采购组", "仓储组", "物流组"),
    "行政部": ("前台组", "资产组"),
    "法务部": ("合同组", "知识产权组"),
}
"""First level, and what may stand below each."""

TITLES: Final = (
    "工程师", "高级工程师", "产品经理", "设计师", "测试工程师", "运营专员", "销售经理", "客户经理",
    "会计", "人事专员", "采购专员", "法务专员", "数据分析师", "行政助理",
)  # fmt: skip

WORK_PLACES: Final = ("杭州", "北京", "上海", "深圳", "成都", "")


def person(rng: Random) -> tuple[str, str]:
    """``(name, pinyin)``: as ``("欧阳雨桐", "ouyang.yutong")``."""
    # squaring favours the front of the list, as in life
    surname, surname_pinyin = SURNAMES[int(rng.random() ** 2 * len(SURNAMES))]
    given, given_pinyin = rng.choice(GIVEN)
    return surname + given, f"{surname_pinyin}.{given_pinyin}"


def department(rng: Random, parent: str | None, taken: set[str]) -> str:
    """A name for a department below ``parent`` (``None``: below the company) that is not in ``taken``."""
    options = DEPARTMENTS.get(
        parent or "", tuple(DEPARTMENTS) if parent is None else ("一组", "二组", "三组")
    )
    free = [name for name in options if name not in taken]
    if free:
        return rng.choice(free)
    base = rng.choice(options)
    return next(name for n in range(2, 10_000) if (name := f"{base}{n}") not in taken)
