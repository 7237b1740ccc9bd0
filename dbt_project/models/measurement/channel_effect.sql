-- How people react by channel, topic and language: of all touches that went out, how many were answered, and what the
-- person did next.
with

touchpoints as (

    select *
    from {{ ref('touchpoints') }}
    where direction = 'outbound'

),

contacts as (

    select * from {{ ref('contacts') }}

),

final as (

    select
        touchpoints.channel,
        coalesce(touchpoints.topic, 'none') as topic,
        coalesce(contacts.language, 'unknown') as language,
        cast(count(*) as integer) as touches,
        cast(count(distinct touchpoints.customer_id) as integer) as customers,
        cast(sum(case when touchpoints.reaction <> 'none' then 1 else 0 end) as integer) as reactions,
        {{ rounded(ratio("sum(case when touchpoints.reaction <> 'none' then 1 else 0 end)", 'count(*)'), 5, 4) }} as reaction_rate,
        {{ rounded(ratio(
            "sum(case when touchpoints.next_step = 'used_feature' then 1 else 0 end)", 'count(touchpoints.next_step)'
        ), 5, 4) }} as used_feature_rate
    from touchpoints
    left join contacts
        on touchpoints.contact_id = contacts.contact_id
    group by
        touchpoints.channel,
        coalesce(touchpoints.topic, 'none'),
        coalesce(contacts.language, 'unknown')

)

select * from final
