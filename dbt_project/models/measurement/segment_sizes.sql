-- How many are in each segment and group on each day that was built, and who came and went since the day built before.
-- A day is not written again once a later one stands.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='as_of_date',
    full_refresh=false,
    on_schema_change='append_new_columns',
) }}

with

members as (

    select * from {{ ref('segment_members') }}

),

days as (

    select max(as_of_date) as last_day
    from members
    where as_of_date < {{ as_of_date() }}

),

-- a segment without anybody is there, with nobody
segments as (

    {% for segment in var('segments') %}
    select '{{ segment }}' as segment_name
    {% if not loop.last %}
    union all
    {% endif %}
    {% endfor %}

),

today as (

    select *
    from members
    where as_of_date = {{ as_of_date() }}

),

before as (

    select members.*
    from members
    inner join days
        on members.as_of_date = days.last_day

),

compared as (

    select
        coalesce(today.segment_name, before.segment_name) as segment_name,
        coalesce(today.segment_group, before.segment_group) as segment_group,
        coalesce(today.member_id, before.member_id) as member_id,
        case when today.member_id is null then 0 else 1 end as is_in,
        case when before.member_id is null then 0 else 1 end as was_in
    from today
    full outer join before
        on
            today.segment_name = before.segment_name
            and today.segment_group = before.segment_group
            and today.member_id = before.member_id

),

-- of the whole segment somebody counts once, in however many of its groups
of_whole as (

    select
        segment_name,
        member_id,
        max(is_in) as is_in,
        max(was_in) as was_in
    from compared
    group by segment_name, member_id

),

counted as (

    select
        segments.segment_name,
        '' as segment_group,
        coalesce(sum(of_whole.is_in), 0) as size,
        coalesce(sum(case when of_whole.is_in > of_whole.was_in then 1 else 0 end), 0) as entered,
        coalesce(sum(case when of_whole.is_in < of_whole.was_in then 1 else 0 end), 0) as departed
    from segments
    left join of_whole
        on segments.segment_name = of_whole.segment_name
    group by segments.segment_name

    union all

    select
        segment_name,
        segment_group,
        sum(is_in) as size,
        sum(case when is_in > was_in then 1 else 0 end) as entered,
        sum(case when is_in < was_in then 1 else 0 end) as departed
    from compared
    where segment_group <> ''
    group by segment_name, segment_group

),

final as (

    select
        {{ as_of_date() }} as as_of_date,
        counted.segment_name,
        counted.segment_group,
        cast(counted.size as integer) as size,
        days.last_day as compared_with_date,
        cast(case when days.last_day is not null then counted.entered end as integer) as entered,
        cast(case when days.last_day is not null then counted.departed end as integer) as departed
    from counted
    cross join days
    {% if is_incremental() %}
    where not exists (select 1 from {{ this }} as later where later.as_of_date > {{ as_of_date() }})
    {% endif %}

)

select * from final
