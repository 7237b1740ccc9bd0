-- Each ticket with its customer: by the person who asked, else by the organisation on the ticket.
with

tickets as (

    select * from {{ ref('stg_zendesk__tickets') }}

),

zendesk_users as (

    select * from {{ ref('stg_zendesk__users') }}

),

contacts as (

    select * from {{ ref('int_contacts__identified') }}

),

customers as (

    select * from {{ ref('int_customers__identified') }}

),

final as (

    select
        tickets.ticket_id,
        coalesce(contacts.customer_id, customers.customer_id) as customer_id,
        contacts.contact_id,
        tickets.ticket_kind,
        tickets.status,
        tickets.created_at,
        cast(tickets.created_at as date) as created_date
    from tickets
    left join zendesk_users
        on tickets.requester_id = zendesk_users.zendesk_user_id
    left join contacts
        on zendesk_users.email = contacts.email
    left join customers
        on tickets.zendesk_organization_id = customers.zendesk_organization_id
    where coalesce(contacts.customer_id, customers.customer_id) is not null

)

select * from final
