-- Each ticket with its customer, by the person who asked, else by the organisation on the ticket; and what became of it.
with

tickets as (

    select *
    from {{ sources_union(
        {'zendesk': 'stg_zendesk__tickets', 'intercom': 'stg_intercom__conversations'},
        {
            'ticket_id': dbt.type_string(),
            'requester_id': dbt.type_string(),
            'organization_id': dbt.type_string(),
            'ticket_kind': dbt.type_string(),
            'status': dbt.type_string(),
            'priority': dbt.type_string(),
            'sentiment': dbt.type_string(),
            'created_at': dbt.type_timestamp(),
            'first_reply_at': dbt.type_timestamp(),
            'solved_at': dbt.type_timestamp(),
            'reopenings': 'bigint',
        },
        {
            'zendesk': {
                'organization_id': 'zendesk_organization_id',
                'sentiment': 'null',
                'first_reply_at': 'null',
                'solved_at': 'null',
                'reopenings': 'null',
            },
            'intercom': {'organization_id': 'intercom_company_id'},
        },
    ) }}

),

requesters as (

    select *
    from {{ sources_union(
        {'zendesk': 'stg_zendesk__users', 'intercom': 'stg_intercom__contacts'},
        {'requester_id': dbt.type_string(), 'email': dbt.type_string(), 'role': dbt.type_string()},
        {'zendesk': {'requester_id': 'zendesk_user_id'}, 'intercom': {'requester_id': 'intercom_contact_id'}},
    ) }}

),

comments as (

    select * from {{ ref('stg_zendesk__ticket_comments') }}

),

field_changes as (

    select * from {{ ref('stg_zendesk__ticket_field_changes') }}

),

ratings as (

    select * from {{ ref('int_tickets__rated') }}

),

links as (

    select * from {{ ref('int_contact_links') }}

),

contacts as (

    select * from {{ ref('int_contacts__identified') }}

),

customers as (

    select * from {{ ref('int_customers__identified') }}

),

-- also by an address that the person has left
addresses as (

    select
        email,
        min(contact_id) as contact_id
    from links
    where
        is_kept
        and record_kind <> 'cookie'
    group by email

),

-- the first word of an agent that the requester can see
first_replies as (

    select
        comments.ticket_id,
        min(comments.created_at) as first_reply_at
    from comments
    inner join requesters
        on comments.author_id = requesters.requester_id
    where
        comments.is_public
        and requesters.source_name = 'zendesk'
        and requesters.role in ('agent', 'admin')
    group by comments.ticket_id

),

status_changes as (

    select
        ticket_id,
        changed_at,
        field_value in ('solved', 'closed') as is_solved,
        lag(field_value) over (
            partition by ticket_id
            order by changed_at
        ) in ('solved', 'closed') as was_solved
    from field_changes
    where field_name = 'status'

),

-- closing what is solved is no second solution, and leaving it is a reopening
solutions as (

    select
        ticket_id,
        max(case when is_solved and not coalesce(was_solved, false) then changed_at end) as solved_at,
        sum(case when was_solved and not is_solved then 1 else 0 end) as reopenings
    from status_changes
    group by ticket_id

),

ranked_ratings as (

    select
        source_name,
        ticket_id,
        satisfaction,
        row_number() over (
            partition by source_name, ticket_id
            order by answered_at desc, satisfaction
        ) as recency
    from ratings

),

joined as (

    select
        tickets.*,
        coalesce(contacts.customer_id, by_zendesk.customer_id, by_intercom.customer_id) as customer_id,
        contacts.contact_id,
        tickets.status in ('solved', 'closed') as is_solved,
        coalesce(first_replies.first_reply_at, tickets.first_reply_at) as replied_at,
        coalesce(solutions.solved_at, tickets.solved_at) as last_solved_at,
        coalesce(solutions.reopenings, tickets.reopenings) as times_reopened,
        ranked_ratings.satisfaction
    from tickets
    left join requesters
        on
            tickets.source_name = requesters.source_name
            and tickets.requester_id = requesters.requester_id
    left join addresses
        on requesters.email = addresses.email
    left join contacts
        on addresses.contact_id = contacts.contact_id
    left join customers as by_zendesk
        on
            tickets.source_name = 'zendesk'
            and tickets.organization_id = by_zendesk.zendesk_organization_id
    left join customers as by_intercom
        on
            tickets.source_name = 'intercom'
            and tickets.organization_id = by_intercom.intercom_company_id
    left join first_replies
        on
            tickets.source_name = 'zendesk'
            and tickets.ticket_id = first_replies.ticket_id
    left join solutions
        on
            tickets.source_name = 'zendesk'
            and tickets.ticket_id = solutions.ticket_id
    left join ranked_ratings
        on
            tickets.source_name = ranked_ratings.source_name
            and tickets.ticket_id = ranked_ratings.ticket_id
            and ranked_ratings.recency = 1

),

final as (

    select
        ---------- ids
        -- tools number their tickets each from one
        case
            when source_name = 'zendesk' then ticket_id
            else {{ dbt.concat(['source_name', "'-'", 'ticket_id']) }}
        end as ticket_id,
        ticket_id as source_ticket_id,
        source_name,
        customer_id,
        contact_id,
        ---------- attributes
        ticket_kind as kind,
        ticket_kind,
        status,
        priority,
        sentiment,
        not is_solved as is_open,
        ---------- measures
        satisfaction,
        times_reopened as reopenings,
        ---------- timestamps
        created_at,
        replied_at as first_reply_at,
        case when is_solved then last_solved_at end as solved_at,
        cast(created_at as date) as created_date
    from joined
    where customer_id is not null

)

select * from final
