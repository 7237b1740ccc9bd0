-- What a person turns to: topics of the mails, articles, webinars and posts that they reacted to of late.
with

touchpoints as (

    select * from {{ ref('touchpoints') }}

),

page_views as (

    select * from {{ ref('int_page_views__attributed') }}

),

topics as (

    select * from {{ ref('topics') }}

),

reactions as (

    select
        touchpoint_id as reaction_id,
        contact_id,
        customer_id,
        topic as about,
        reacted_at
    from touchpoints
    where
        channel in ('email', 'webinar', 'community')
        and reaction <> 'none'
        and contact_id is not null

    union all

    select
        page_view_id as reaction_id,
        contact_id,
        customer_id,
        path as about,
        occurred_at as reacted_at
    from page_views
    where
        page_kind in ('article', 'documentation')
        and contact_id is not null

),

-- a topic counts once for each reaction, however many of its words stand there
recognised as (

    select distinct
        reactions.reaction_id,
        reactions.contact_id,
        reactions.customer_id,
        topics.topic,
        reactions.reacted_at
    from reactions
    inner join topics
        on lower(reactions.about) like {{ dbt.concat(["'%'", 'lower(topics.word)', "'%'"]) }}
    where cast(reactions.reacted_at as date) > {{ days_before(as_of_date(), 'cast(' ~ threshold('interest_days') ~ ' as integer)') }}

),

counted as (

    select
        contact_id,
        min(customer_id) as customer_id,
        topic,
        count(*) as reactions,
        max(reacted_at) as last_reacted_at
    from recognised
    group by
        contact_id,
        topic

),

final as (

    select
        contact_id,
        customer_id,
        topic,
        cast(row_number() over (
            partition by contact_id
            order by reactions desc, last_reacted_at desc, topic
        ) as integer) as interest_rank,
        cast(reactions as integer) as reactions,
        last_reacted_at
    from counted

)

select * from final
